import { expect, test } from "vitest";
import { judge, statusOf } from "../src/goals.ts";

const verdicts = (...args: Parameters<typeof judge>): readonly string[] =>
  judge(...args).map(({ verdict }) => verdict);

test("a limit itself is reached, on either side", () => {
  const figures = { throughputToBullmq: 1.4, throughputToRaw: 0.549, coordinatorCpuUs: 45 };
  expect(verdicts(figures, ["throughput"])).toEqual(["pass", "miss", "pass"]);
  expect(verdicts({ p50ToBullmq: 0.75, p99ToBullmq: 0.91 }, ["latency"])).toEqual(["pass", "miss"]);
});

test("only what was asked for is judged", () => {
  expect(judge({ throughputToBullmq: 2 }, ["failure"])).toEqual([]);
});

test("a figure that is missing is neither reached nor missed", () => {
  expect(verdicts({}, ["growth"])).toEqual(["not judged"]);
  expect(verdicts({ manyNodesToTen: Number.NaN }, ["growth"])).toEqual(["not judged"]);
});

test("the status tells a missed goal only when asked to, and always one not judged", () => {
  const missed = judge({ manyNodesToTen: 0.5 }, ["growth"]);
  expect(statusOf(missed, false)).toBe(0);
  expect(statusOf(missed, true)).toBe(1);
  expect(statusOf(judge({}, ["growth"]), false)).toBe(2);
  expect(statusOf([], true)).toBe(0);
});
