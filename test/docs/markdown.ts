/** A page of Markdown as the tests read it: its fenced blocks with what their info strings say. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The root of the repository. */
export const ROOT = join(import.meta.dirname, "..", "..");

export interface Block {
  /** From the root, with `/`. */
  readonly page: string;
  /** Of the line with the fence, from 1. */
  readonly line: number;
  /** `""` for a picture or a table of characters. */
  readonly lang: string;
  /** The words after the language: `stays`, `terminal=mesh`; a word without a value is `""`. */
  readonly words: ReadonlyMap<string, string>;
  /** Why it is shown and not run: what stands after `no-run:`. */
  readonly noRun: string | undefined;
  readonly body: string;
}

/** `tutorial.md:12`, as editors and terminals make it a link. */
export function placeOf({ page, line }: Pick<Block, "page" | "line">): string {
  return `${page}:${line}`;
}

/** Every fenced block of a page, in order. Throws on a fence that is not closed. */
export function blocksOf(page: string, text: string): readonly Block[] {
  const blocks: Block[] = [];
  const lines = text.split("\n");
  for (let index = 0; index < lines.length; index++) {
    const [, indent, fence, info] = /^( *)(`{3,})(.*)$/.exec(lines[index] ?? "") ?? [];
    if (indent === undefined || fence === undefined || info === undefined) continue;
    const end = lines.findIndex((line, at) => at > index && line.trim() === fence);
    if (end < 0) throw new Error(`${page}:${index + 1}: the fence is not closed`);
    const inside = lines.slice(index + 1, end).map((line) => line.slice(indent.length));
    blocks.push({ page, line: index + 1, ...infoOf(info), body: inside.join("\n") });
    index = end;
  }
  return blocks;
}

function infoOf(info: string): Pick<Block, "lang" | "words" | "noRun"> {
  const at = info.search(/\bno-run\b/);
  const [lang = "", ...words] = (at < 0 ? info : info.slice(0, at)).trim().split(/\s+/);
  const pairs = words.map((word): [string, string] => {
    const equals = word.indexOf("=");
    return equals < 0 ? [word, ""] : [word.slice(0, equals), word.slice(equals + 1)];
  });
  const noRun = at < 0 ? undefined : info.slice(at).replace(/^no-run:?\s*/, "");
  return { lang, words: new Map(pairs), noRun };
}

/** The code between backticks in a page's prose and tables, with its line. */
export function spansOf(text: string): readonly { readonly line: number; readonly code: string }[] {
  const prose = text.replace(/^( *)(`{3,})[\s\S]*?^\1\2 *$/gm, (block) =>
    block.replace(/[^\n]/g, ""),
  );
  return prose
    .split("\n")
    .flatMap((content, index) =>
      [...content.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => ({ line: index + 1, code })),
    );
}

/** What `#…` may follow a page's name: the anchors of its headings, as GitHub makes them. */
export function anchorsOf(text: string): readonly string[] {
  const prose = text.replace(/^( *)(`{3,})[\s\S]*?^\1\2 *$/gm, "");
  return [...prose.matchAll(/^#{1,6} (.*)$/gm)].map(([, heading = ""]) =>
    heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .toLowerCase()
      .replace(/[^\p{L}\p{N}_ -]/gu, "")
      .replaceAll(" ", "-"),
  );
}

/** Every page of the repository, from its root; what is made, or a user's own, is none of ours. */
export function pages(): readonly string[] {
  const foreign = ["coverage", "dist", "node_modules", "play"];
  const walk = (folder: string): string[] =>
    readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
      if (entry.name.startsWith(".") || foreign.includes(entry.name)) return [];
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) return walk(path);
      return entry.name.endsWith(".md") ? [path] : [];
    });
  return walk("");
}

/** The text of a page. */
export function readPage(page: string): string {
  return readFileSync(join(ROOT, page), "utf8");
}
