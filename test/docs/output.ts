/**
 * What a page says is printed, compared with what was printed.
 *
 * Times and spans of time may differ, and so may the width of a gap between words. `…` stands for
 * anything within a line, and alone on a line for any number of lines.
 */

export interface Rules {
  /** Any whole number will do where the page shows one: ids, counts, pids. */
  readonly numbers: boolean;
}

const GAP = "…";

/** What differs, as one text for a person; `undefined` when it is what the page shows. */
export function differenceOf(shown: string, printed: string, rules: Rules): string | undefined {
  const wanted = linesOf(shown, rules);
  const got = linesOf(printed, rules);
  if (matches(wanted.map(patternOf), got)) return undefined;
  return `the page shows:\n${indented(wanted)}\nprinted was:\n${indented(got)}`;
}

function linesOf(text: string, rules: Rules): readonly string[] {
  const lines = text.split("\n").map((line) => normalised(line, rules));
  // A blank line at either end says nothing.
  while (lines[0] === "") lines.shift();
  while (lines.at(-1) === "") lines.pop();
  return lines;
}

function normalised(line: string, { numbers }: Rules): string {
  const plain = line
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what colours a terminal
    .replace(/\u001b\[[0-9;]*m/g, "")
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, "<time>")
    .replace(/\b\d\d:\d\d:\d\d(\.\d+)?\b/g, "<time>")
    .replace(/\b\d+(\.\d+)? ?(ms|s|m|h|d)\b/g, "<span>")
    .replace(/[ \t]+/g, " ")
    .trim();
  return numbers ? plain.replace(/\b\d+\b/g, "<number>") : plain;
}

function patternOf(line: string): RegExp | typeof GAP {
  if (line === GAP) return GAP;
  const parts = line.split(GAP).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`);
}

function matches(wanted: readonly (RegExp | typeof GAP)[], got: readonly string[]): boolean {
  const [first, ...rest] = wanted;
  if (first === undefined) return got.length === 0;
  if (first === GAP) {
    return Array.from({ length: got.length + 1 }, (_, skipped) => skipped).some((skipped) =>
      matches(rest, got.slice(skipped)),
    );
  }
  return got[0] !== undefined && first.test(got[0]) && matches(rest, got.slice(1));
}

function indented(lines: readonly string[]): string {
  return lines.map((line) => `  | ${line}`).join("\n");
}
