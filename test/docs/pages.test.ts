/** What every page says of commands, settings and subjects, held against what there is. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as protocol from "@swarm-mesh/protocol";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { variableOf } from "../../packages/process/src/config.ts";
import { commandsOf } from "./commands.ts";
import {
  anchorsOf,
  type Block,
  blocksOf,
  pages,
  placeOf,
  ROOT,
  readPage,
  spansOf,
} from "./markdown.ts";
import { CONFIGS } from "./settings.ts";
import { agree, subjectForms, subjectsIn } from "./subjects.ts";
import { problemOf } from "./swarmctl.ts";

/** Blocks that are shown and not run, in the pages that are followed. Each says why. */
const NO_RUN_MAX = 10;

/** What is named although it is not there: the page says so in the same breath. */
const NOT_THERE: Readonly<Record<string, readonly string[]>> = {
  "docs/features.md": ["swarmctl cluster …"],
};

const LANGUAGES = ["", "console", "go", "js", "json", "py", "sh", "text", "ts", "yaml"];
const WORDS = ["fails", "file", "needs", "numbers", "schema", "stays", "terminal"];

const all = pages().map((page) => {
  const text = readPage(page);
  return { page, text, blocks: blocksOf(page, text), spans: spansOf(text) };
});
const blocks = all.flatMap((one) => one.blocks);

describe("a block", () => {
  test("says its language, and nothing that nobody understands", () => {
    const odd = blocks.filter(
      ({ lang, words }) =>
        !LANGUAGES.includes(lang) || [...words.keys()].some((word) => !WORDS.includes(word)),
    );
    expect(odd.map(placeOf)).toEqual([]);
  });

  test("that is not run says why, and there are few", () => {
    const unrun = blocks.filter(({ noRun }) => noRun !== undefined);
    expect(unrun.filter(({ noRun }) => (noRun ?? "").length < 10).map(placeOf)).toEqual([]);
    expect(unrun.length, unrun.map(placeOf).join(", ")).toBeLessThanOrEqual(NO_RUN_MAX);
  });

  test("of JSON is JSON, and matches the schema it names", () => {
    const problems = blocks
      .filter(({ lang }) => lang === "json")
      .flatMap((block) => jsonProblems(block).map((problem) => `${placeOf(block)}: ${problem}`));
    expect(problems).toEqual([]);
  });

  test("imports what our packages export", async () => {
    const problems: string[] = [];
    for (const block of blocks.filter(({ lang }) => lang === "ts" || lang === "js")) {
      const imports = block.body.matchAll(/^import \{([^}]*)\} from "(@swarm-mesh\/[\w-]+)"/gm);
      for (const [, names = "", from = ""] of imports) {
        const exported = Object.keys((await import(from)) as object);
        const values = names.split(",").map((name) => name.trim());
        const missing = values.filter(
          (name) => name !== "" && !name.startsWith("type ") && !exported.includes(name),
        );
        problems.push(...missing.map((name) => `${placeOf(block)}: ${from} has no ${name}`));
      }
    }
    expect(problems).toEqual([]);
  });
});

test("every swarmctl command on a page is one of the program's", () => {
  const named = blocks.flatMap((block) => swarmctlCalls(scriptOf(block)));
  expect(named.length).toBeGreaterThan(25);
  const problems = all.flatMap(({ page, blocks: own, spans }) => [
    ...own.flatMap((block) =>
      swarmctlCalls(scriptOf(block)).flatMap((args) => complaint(placeOf(block), args, false)),
    ),
    ...spans
      .filter(({ code }) => !NOT_THERE[page]?.includes(code))
      .flatMap(({ code, line }) =>
        swarmctlCalls(code).flatMap((args) => complaint(`${page}:${line}`, args, true)),
      ),
  ]);
  expect(problems).toEqual([]);
});

test("every MESH_… name on a page is a setting, a variable or a store", () => {
  const known = new Set([...settings(), ...variablesInSource()]);
  const problems = all.flatMap(({ page, text }) =>
    [...new Set(text.match(/\bMESH_[A-Z0-9_]*[A-Z0-9]\b/g))]
      .filter((name) => !known.has(name))
      .map((name) => `${page}: ${name}`),
  );
  expect(problems).toEqual([]);
});

test("every subject on a page is one of the protocol's", () => {
  const forms = subjectForms();
  expect(agree("mesh.tasks.submit.echo.high", forms[1] ?? [])).toBe(true);
  expect(forms.some((form) => agree("mesh.tasks.submitted.echo", form))).toBe(false);
  expect(all.flatMap(({ text }) => subjectsIn(text)).length).toBeGreaterThan(50);
  const problems = all
    .filter(({ page }) => page !== "CHANGELOG.md")
    .flatMap(({ page, text }) =>
      subjectsIn(text)
        .filter((subject) => !forms.some((form) => agree(subject, form)))
        .map((subject) => `${page}: ${subject}`),
    );
  expect(problems).toEqual([]);
});

test("every link to a heading finds it", () => {
  const broken = all.flatMap(({ page, text }) =>
    [...text.matchAll(/\]\(([^)#\s:]*)#([^)\s]+)\)/g)].flatMap(([, path = "", anchor = ""]) => {
      const target = path === "" ? page : join(dirname(page), path);
      if (!target.endsWith(".md") || !existsSync(join(ROOT, target))) return [];
      return anchorsOf(readPage(target)).includes(anchor) ? [] : [`${page}: ${path}#${anchor}`];
    }),
  );
  expect(broken).toEqual([]);
});

test("the index names every page, and each decision has a number of its own", () => {
  const index = readPage("docs/README.md");
  const decisions = "docs/decisions/";
  const named = all
    .map(({ page }) => page)
    .filter((page) => /^docs\//.test(page) && page !== "docs/README.md")
    .filter((page) => !page.startsWith(decisions));
  const missing = named.filter((page) => !index.includes(`(${page.slice("docs/".length)})`));
  expect(missing).toEqual([]);
  const numbers = all
    .filter(({ page }) => page.startsWith(decisions))
    .map(({ page }) => page.slice(decisions.length, decisions.length + 4));
  expect(numbers.filter((number, at) => numbers.indexOf(number) !== at)).toEqual([]);
});

// ── JSON ────────────────────────────────────────────────────────────────────────────────────────

function jsonProblems(block: Block): readonly string[] {
  const names = block.words.get("schema")?.split(",") ?? [];
  const values = jsonValues(block.body);
  if (values === undefined) return ["not JSON"];
  if (names.length > values.length) return [`${values.length} values for ${names.length} schemas`];
  return names.flatMap((name, index) => {
    const schema = (protocol as Readonly<Record<string, unknown>>)[name];
    if (!(schema instanceof z.ZodType)) return [`the protocol has no schema ${name}`];
    const parsed = schema.safeParse(values[index]);
    return parsed.success ? [] : [`${name}: ${protocol.describeIssues(parsed.error)}`];
  });
}

/** One value after the other, each from the beginning of a line; `undefined` when one is no JSON. */
function jsonValues(body: string): readonly unknown[] | undefined {
  const values: unknown[] = [];
  let pending = "";
  for (const line of body.split("\n")) {
    pending += `${line}\n`;
    try {
      values.push(JSON.parse(pending));
      pending = "";
    } catch {
      // Not whole yet, or never: the end tells.
    }
  }
  return pending.trim() === "" ? values : undefined;
}

// ── Commands ────────────────────────────────────────────────────────────────────────────────────

function scriptOf({ lang, body }: Block): string {
  if (lang === "sh") return body;
  if (lang !== "console") return "";
  return body
    .split("\n")
    .flatMap((line) => (line.startsWith("$ ") ? [line.slice(2)] : []))
    .join("\n");
}

/** The arguments of each `swarmctl` in a script; `<what stands for something>` is a word. */
function swarmctlCalls(script: string): readonly (readonly string[])[] {
  return commandsOf(script.replace(/<[a-z][^<>\n]*>/gi, "x")).flatMap(([program, ...args]) =>
    program === "swarmctl" ? [args.filter((word) => word !== "…")] : [],
  );
}

function complaint(place: string, args: readonly string[], inPassing: boolean): readonly string[] {
  const problem = problemOf(args, inPassing);
  return problem === undefined ? [] : [`${place}: swarmctl ${args.join(" ")}: ${problem}`];
}

// ── Settings ────────────────────────────────────────────────────────────────────────────────────

function settings(): readonly string[] {
  return Object.values(CONFIGS).flatMap(({ shape }) => Object.keys(shape).map(variableOf));
}

/** Every `MESH_…` that something of ours reads, sets or is called. */
function variablesInSource(): readonly string[] {
  const files = ["packages", "services", "bench", "test", "deploy"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.name.endsWith(".md"))
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => !/\/(node_modules|dist)\//.test(path)),
  );
  return files.flatMap((path) => readFileSync(path, "utf8").match(/\bMESH_[A-Z0-9_]+\b/g) ?? []);
}

test("llms.txt leads only to what is there", () => {
  const links = [...readPage("llms.txt").matchAll(/\]\(([^)]+)\)/g)].map(([, path = ""]) => path);
  expect(links.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
});
