/** What is logged, read from the source itself, against docs/logging.md: one name for one thing. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { shownServer } from "@swarm-mesh/bus";
import { describe, expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "..");

interface Call {
  readonly at: string;
  readonly level: string;
  readonly fields: readonly string[];
  readonly message: string;
}

const CALL =
  /\blog\??\.(debug|info|warn|error)\(\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}),\s*("[^"]*"|[^"\s])/g;

const sources = ["packages", "services"].flatMap((group) =>
  readdirSync(join(ROOT, group)).flatMap((name) => filesBelow(join(group, name, "src"))),
);
/** Without the logger of a task, which passes on what its handler says. */
const calls = sources.flatMap(callsIn).filter(({ at }) => !at.endsWith("{ ...fields, ...more }"));
const page = readFileSync(join(ROOT, "docs", "logging.md"), "utf8");

test("there are log calls to look at", () => {
  expect(calls.length).toBeGreaterThan(50);
});

test("a message is constant: what varies is in the fields", () => {
  expect(calls.filter(({ message }) => !/^"[^"]+"$/.test(message)).map(({ at }) => at)).toEqual([]);
});

test("every field has a name that docs/logging.md has", () => {
  const known = new Set([...page.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name));
  const unknown = calls.flatMap(({ at, fields }) =>
    fields.filter((name) => !known.has(name)).map((name) => `${at}: ${name}`),
  );
  expect(unknown).toEqual([]);
});

test("every error is in docs/logging.md, with what to do", () => {
  const errors = calls.filter(({ level }) => level === "error").map(({ message }) => message);
  const text = (message: string): string => message.slice(1, -1);
  const untold = errors.filter((message) => !page.includes(`| ${text(message)} `));
  expect(untold).toEqual([]);
});

describe("a server's address", () => {
  test.each([
    ["nats://127.0.0.1:4222", "nats://127.0.0.1:4222"],
    ["nats://user:secret@host:4222", "nats://***@host:4222"],
    ["tls://token@host", "tls://***@host"],
    ["user:secret@host:4222", "***@host:4222"],
  ])("%s is shown as %s", (server, shown) => {
    expect(shownServer(server)).toBe(shown);
  });
});

function filesBelow(folder: string): string[] {
  try {
    return readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => join(folder, name));
  } catch {
    // A workspace without sources.
    return [];
  }
}

function callsIn(path: string): Call[] {
  const text = readFileSync(join(ROOT, path), "utf8");
  return [...text.matchAll(CALL)].map(([, level = "", fields = "", message = ""]) => ({
    at: `${path}: ${fields}`,
    level,
    fields: namesIn(fields),
    message,
  }));
}

/** The keys of an object literal: its own, not those of objects in it; spreads have names of their own. */
function namesIn(literal: string): string[] {
  const flat = literal
    .slice(1, -1)
    .replaceAll(/\([^()]*\)/g, "")
    .replaceAll(/"[^"]*"/g, "0");
  return flat
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "" && !part.startsWith("..."))
    .map((part) => /^(\w+)/.exec(part)?.[1] ?? part);
}
