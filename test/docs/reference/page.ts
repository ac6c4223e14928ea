/** What all pages of the reference are made of. */

/** The title, and what the page is made from. */
export function heading(title: string, source: string): string {
  return `<!-- Made by \`npm run docs\` from ${source}; not edited by hand. -->\n\n# ${title}`;
}

/** A table of Markdown. A bar within a cell must be escaped already. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)));
  const line = (cells: readonly string[]): string =>
    `| ${widths.map((width, column) => (cells[column] ?? "").padEnd(width)).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

/** A text that stands in a cell. */
export function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}
