/**
 * Runs seeds of the simulated mesh. A few in every unit run; more, or one again, with
 *
 *     MESH_SIM_SEEDS=0-20000 npx vitest run --project unit test/simulation/simulation.test.ts
 *     MESH_SIM_SEEDS=3455 npx vitest run --project unit test/simulation/simulation.test.ts
 */
import { expect, test } from "vitest";
import { type Outcome, simulate } from "./simulate.ts";

/** As the environment names them, `from-to` or one alone; or those of every unit run. */
const { MESH_SIM_SEEDS: asked } = process.env;
const [first = 0, last = first] = (asked ?? "100-159").split("-").map(Number);
/** Each of these failed once, and what it found was mended. */
const MENDED = [
  ...[70, 93, 233, 322, 424, 539, 774, 881, 910, 1132, 1312, 1367, 1378, 1614, 1995, 2168],
  ...[3030, 3455, 4135, 4355, 4444, 12_708],
];
/** Seeds that fail are told up to this many. */
const TOLD_MAX = 20;

test(`nothing goes wrong in seeds ${first} to ${last}`, { timeout: 24 * 3_600_000 }, async () => {
  const startedAt = performance.now();
  const failed = await failuresOf(range(first, last));
  const perMinute = ((last - first + 1) / (performance.now() - startedAt)) * 60_000;
  if (asked !== undefined) process.stdout.write(`${Math.round(perMinute)} seeds a minute\n`);
  expect(failed.length, failed.map(tellAbout).join("\n")).toBe(0);
});

test("nor in those that went wrong before", { timeout: 60_000 }, async () => {
  const failed = await failuresOf(MENDED);
  expect(failed.length, failed.map(tellAbout).join("\n")).toBe(0);
});

test("the same seed runs the same", { timeout: 60_000 }, async () => {
  const [one, other] = [await simulate(7), await simulate(7)];
  expect(one.events).toBeGreaterThan(500);
  expect(other).toEqual(one);
});

function range(from: number, to: number): readonly number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index);
}

async function failuresOf(seeds: readonly number[]): Promise<readonly Outcome[]> {
  const failed: Outcome[] = [];
  for (const seed of seeds) {
    const outcome = await simulate(seed);
    if (outcome.violation !== undefined) failed.push(outcome);
    if (failed.length === TOLD_MAX) break;
  }
  return failed;
}

/** The rule, what broke it, and for the first of several the end of what happened. */
function tellAbout({ seed, violation, tail }: Outcome, index: number): string {
  const line = `seed ${seed}: "${violation?.rule}": ${violation?.text}`;
  const again = `to see it again: MESH_SIM_SEEDS=${seed}`;
  return index === 0 ? [line, ...tail, again].join("\n") : line;
}
