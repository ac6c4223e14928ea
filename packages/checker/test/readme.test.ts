import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { HistoryLine, RUN_RULES, TASK_RULES, Watched } from "../src/mod.ts";

const readme = readFileSync(join(import.meta.dirname, "..", "README.md"), "utf8");

test.each(HistoryLine.options.map(({ shape }) => [shape.what.value, Object.keys(shape)] as const))(
  "the README tells of the line %s, and of each of its fields",
  (what, fields) => {
    const row = readme.split("\n").find((text) => text.startsWith(`| \`${what}\``)) ?? "";
    const own = fields.filter((field) => !["at", "by", "what"].includes(field));
    expect(own.filter((field) => !new RegExp(`\`${field}\\??\``).test(row))).toEqual([]);
    expect(row).not.toBe("");
  },
);

test("the README has every rule, as it says itself", () => {
  for (const { name, invariant } of [...TASK_RULES, ...RUN_RULES]) {
    expect(readme).toMatch(new RegExp(`\\| \`${name}\` +\\| ${invariant} +\\|`));
  }
  expect(readme).toContain(`no violation of ${TASK_RULES.length + RUN_RULES.length} rules`);
});

test("the README has every kind that can be promised", () => {
  for (const kind of Watched.options) expect(readme).toContain(`\`${kind}\``);
});
