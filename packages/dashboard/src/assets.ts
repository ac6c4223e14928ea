/** The built page, read once: half a megabyte, and no path of a request ever reaches the disk. */
import { readdir, readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { gzipSync } from "node:zlib";

export interface Asset {
  readonly type: string;
  readonly bytes: Buffer;
  readonly gzip: Buffer;
  /** Is the content's hash in its name, so that it never changes? */
  readonly lasting: boolean;
}

/** From `src` and from `dist` the same. */
const PAGE_DIR = join(import.meta.dirname, "..", "dist", "page");

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** Every file of the page by its path, `/index.html`. Rejects when the page was not built. */
export async function loadPage(): Promise<ReadonlyMap<string, Asset>> {
  const files = await readdir(PAGE_DIR, { recursive: true }).catch((error: unknown) => {
    throw new Error("the page is not built; `npm run build` builds it", { cause: error });
  });
  const assets = new Map<string, Asset>();
  for (const file of files) {
    const type = TYPES[extname(file)];
    if (type === undefined) continue;
    const bytes = await readFile(join(PAGE_DIR, file));
    const path = `/${file.replaceAll("\\", "/")}`;
    assets.set(path, { type, bytes, gzip: gzipSync(bytes), lasting: path.startsWith("/assets/") });
  }
  return assets;
}
