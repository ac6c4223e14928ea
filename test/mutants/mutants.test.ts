import { readFileSync } from "node:fs";
import { join } from "node:path";
import { RUN_RULES, TASK_RULES } from "@swarm-mesh/checker";
import { expect, test } from "vitest";
import { patternOf, ROOT } from "./mutant.ts";
import { MUTANTS } from "./mutants.ts";
import { SCENARIOS } from "./scenarios.ts";

const rules = [...TASK_RULES, ...RUN_RULES].map(({ name }) => name);

// A change of the code that a mutant stands in has to keep the mutant.
test.for(MUTANTS)("$name finds its place, once", ({ patches }) => {
  for (const { file, find, replace } of patches) {
    const parts = readFileSync(join(ROOT, file), "utf8").split(new RegExp(patternOf(find)));
    expect(parts.length - 1, `places of "${find}" in ${file}`).toBe(1);
    expect(replace).not.toBe(find);
  }
});

test.for(MUTANTS)("$name is caught by a rule there is", ({ caughtBy }) => {
  expect(rules).toContain(caughtBy);
});

test("each mutant has a name of its own", () => {
  expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
});

test("every scenario has a mutant", () => {
  const used = new Set(MUTANTS.map(({ scenario }) => scenario));
  expect([...used].sort()).toEqual(Object.keys(SCENARIOS).sort());
});
