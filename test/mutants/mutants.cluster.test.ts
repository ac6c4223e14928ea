/**
 * The checker is proved by bugs: each mutant runs in a mesh of its own, real processes and real
 * kills, and is caught by the rule it breaks; the same scenarios without a mutant are clean. The mutants
 * that differ least from the others run with MESH_MUTANTS=all alone.
 */
import { describe, expect, test } from "vitest";
import { environmentOf, type Mutant } from "./mutant.ts";
import { MUTANTS } from "./mutants.ts";
import { SCENARIOS, type ScenarioName } from "./scenarios.ts";
import { Scene } from "./scene.ts";

/** Meshes at a time. They mostly wait, but starting one keeps a core busy for seconds. */
const MESHES_MAX = 4;
const TIMEOUT_MS = 240_000;
const CHOSEN =
  process.env["MESH_MUTANTS"] === "all" ? MUTANTS : MUTANTS.filter(({ seldom }) => !seldom);

/** Lets so many work at a time; the others wait in line. */
const line: (() => void)[] = [];
let working = 0;

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (working >= MESHES_MAX) await new Promise<void>((resolve) => line.push(resolve));
  else working++;
  try {
    return await work();
  } finally {
    const next = line.shift();
    if (next === undefined) working--;
    else next();
  }
}

/** Plays a scenario; what the checker says, and what did not come to pass. */
async function play(name: ScenarioName, mutant?: Mutant) {
  const { options, play: act } = SCENARIOS[name];
  const scene = await Scene.start(
    options,
    mutant === undefined ? undefined : environmentOf(mutant),
  );
  try {
    await act(scene);
    return { verdict: await scene.verdict(), missed: scene.missed };
  } finally {
    await scene.stop();
  }
}

describe.concurrent("no mutant", () => {
  const names = Object.keys(SCENARIOS) as ScenarioName[];
  test.for(names)("%s: clean", { timeout: TIMEOUT_MS }, async (name) => {
    const { verdict, missed } = await inTurn(() => play(name));
    expect(verdict.violations).toEqual([]);
    expect(missed).toEqual([]);
    expect(verdict.complete).toBe(true);
    expect(verdict.runs).toBeGreaterThan(0);
  });
});

describe.concurrent("mutant", () => {
  test.for(CHOSEN)("$name is caught", { timeout: TIMEOUT_MS }, async (mutant) => {
    const { verdict } = await inTurn(() => play(mutant.scenario, mutant));
    const rules = [...new Set(verdict.violations.map(({ rule }) => rule))];
    expect(rules).toContain(mutant.caughtBy);
  });
});
