/** What the source says above a name: the reference tells it in the same words. */

const COMMENT = String.raw`\/\*\*((?:(?!\*\/)[\s\S])*)\*\/`;

/** The comment above `export const <name>`, as one paragraph; `""` when there is none. */
export function docOf(source: string, name: string): string {
  const found = new RegExp(`${COMMENT}\\nexport const ${name}\\b`).exec(source);
  return plain(found?.[1] ?? "");
}

/** The comments above the fields of `export const <name> = z.object({ … })`, by field. */
export function fieldDocsOf(source: string, name: string): ReadonlyMap<string, string> {
  const start = source.search(new RegExp(`^export const ${name}\\b`, "m"));
  if (start < 0) return new Map();
  const end = source.indexOf("\nexport ", start + 1);
  const text = source.slice(start, end < 0 ? undefined : end);
  const pairs = text.matchAll(new RegExp(`${COMMENT}\\n\\s+(\\w+):`, "g"));
  return new Map([...pairs].map(([, doc = "", field = ""]) => [field, plain(doc)]));
}

/** A comment as running text: no stars, no line breaks, links by their names alone. */
function plain(comment: string): string {
  return comment
    .replace(/^\s*\* ?/gm, "")
    .replace(/\{@link (\w+)\}/g, "`$1`")
    .replace(/\s+/g, " ")
    .trim();
}

/** Every error class of a source that is commented, by name. */
export function docsOfClasses(
  source: string,
): readonly { readonly name: string; readonly doc: string }[] {
  const classes = source.matchAll(
    new RegExp(`${COMMENT}\\nexport class (\\w+) extends \\w*Error\\b`, "g"),
  );
  return [...classes].map(([, doc = "", name = ""]) => ({ name, doc: plain(doc) }));
}
