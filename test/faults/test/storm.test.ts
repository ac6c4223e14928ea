/**
 * Two short storms with seeds whose faults, together, are of every kind: nothing may be violated. Longer
 * ones, and others, are `npm run faults`.
 */
import { expect, test } from "vitest";
import { reportText } from "../src/report.ts";
import { FAULTS, type Fault } from "../src/schedule.ts";
import { isBad, removeStorm, runStorm, type StormResult } from "../src/storm.ts";

const SEEDS = [171, 199];
const DURATION_MS = 55_000;
const RATE = 60;

const struck = new Set<Fault>();
const skipped = new Set<string>();

// At the same time, each in a mesh and a network of its own.
test.concurrent.each(SEEDS)("a storm of seed %i violates nothing", async (seed) => {
  const result = await runStorm({
    ...{ seed, durationMs: DURATION_MS, nodes: 4, slots: 8, replicas: 2, rate: RATE },
    ...{ keep: false, say: () => undefined, signal: new AbortController().signal },
  });
  if (isBad(result)) process.stdout.write(await reportText(result));
  for (const { strike } of result.recoveries) struck.add(strike.fault);
  for (const why of result.skipped) skipped.add(why);
  expect(result.unfinished).toEqual([]);
  expect(result.verdict.violations).toEqual([]);
  expect(result.verdict.complete).toBe(true);
  expectWork(result);
  if (!result.kept) await removeStorm(result.dir);
});

test("together they were struck by every kind of fault that this machine allows", () => {
  for (const why of skipped) process.stdout.write(`left out: ${why}\n`);
  const needs = (fault: Fault): string => NEEDS[fault] ?? "";
  const allowed = FAULTS.filter((fault) =>
    [...skipped].every((why) => needs(fault) === "" || !why.startsWith(needs(fault))),
  );
  expect([...struck].sort()).toEqual([...allowed].sort());
});

/** What a kind of fault cannot do without, as a storm says that it is not there. */
const NEEDS: Partial<Record<Fault, string>> = {
  "link-down": "network namespaces",
  deaf: "network namespaces",
  mute: "network namespaces",
  "disk-full": "full disk",
};

/** A storm in which nothing runs would violate nothing either. */
function expectWork({ acknowledged, finals, verdict }: StormResult): void {
  expect(acknowledged).toBeGreaterThan((DURATION_MS / 1_000) * RATE * 0.9);
  expect(finals["succeeded"]).toBeGreaterThan(acknowledged * 0.9);
  expect(verdict.acknowledged).toBe(acknowledged);
  expect(verdict.final).toBeGreaterThanOrEqual(acknowledged);
  expect(verdict.runs).toBeGreaterThan(acknowledged * 0.9);
}
