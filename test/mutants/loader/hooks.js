/** Changes the text of a built module while it is loaded; the files on the disk stay as they are. */
let patches = [];

/** `data`: patches, each of a module's URL, a pattern for its text, and what to put there. */
export function initialize(data) {
  patches = data;
}

export async function load(url, context, next) {
  const loaded = await next(url, context);
  const own = patches.filter((patch) => patch.url === url);
  if (own.length === 0) return loaded;
  let text = Buffer.from(loaded.source).toString("utf8");
  for (const { pattern, replace } of own) {
    const parts = text.split(new RegExp(pattern));
    // A mutant that changes nothing, or too much, must not pass for one.
    if (parts.length !== 2)
      throw new Error(`mutant: ${parts.length - 1} places of ${pattern} in ${url}`);
    text = parts.join(replace);
  }
  return { ...loaded, source: text };
}
