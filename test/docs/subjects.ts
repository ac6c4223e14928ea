/** Subjects on pages, and the forms they may have. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./markdown.ts";

/** The literal forms above the builders, as lists of tokens. */
export function subjectForms(): readonly (readonly string[])[] {
  const source = readFileSync(join(ROOT, "packages/protocol/src/subjects.ts"), "utf8");
  const lines = [...source.matchAll(/^\/\/ (mesh\.\S+(?: \| mesh\.\S+)*)/gm)];
  return lines
    .flatMap(([, forms = ""]) => forms.split(" | "))
    .flatMap((form) => {
      const tokens = form.split(".");
      return (tokens.at(-1) ?? "").split("|").map((last) => [...tokens.slice(0, -1), last]);
    });
}

/** What looks like a subject: `mesh.` and at least two tokens, the last one no file's ending. */
export function subjectsIn(text: string): readonly string[] {
  const token = "(?:[A-Za-z0-9_-]+|<[a-z]+>|\\$\\{?\\w+\\}?|\\*|>|…)";
  const found = text.match(new RegExp(`(?<![\\w$.])mesh\\.${token}(?:\\.${token})+`, "g")) ?? [];
  return [...new Set(found)];
}

/** Is this subject, with whatever stands for tokens, one of that form, or the beginning of one? */
export function agree(subject: string, form: readonly string[]): boolean {
  const tokens = subject.split(".");
  const open = (token: string | undefined): boolean =>
    token === ">" || token === "…" || token === "*";
  const rest = open(tokens.at(-1)) || form.at(-1) === ">";
  if (!rest && tokens.length !== form.length) return false;
  return tokens.every((token, index) => {
    const wanted = form[index];
    if (wanted === undefined) return rest;
    return (
      wanted.startsWith("<") ||
      wanted === ">" ||
      /^[<$]/.test(token) ||
      open(token) ||
      token === wanted
    );
  });
}
