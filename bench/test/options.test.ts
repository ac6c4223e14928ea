import { expect, test } from "vitest";
import { parseOptions, SUBJECTS } from "../src/options.ts";

test("everything is measured unless it is said otherwise", () => {
  const { only, payload, concurrency, rate, quick } = parseOptions([]);
  expect(only).toEqual(SUBJECTS);
  expect({ payload, concurrency, rate, quick }).toEqual({
    payload: 256,
    concurrency: 64,
    rate: 50,
    quick: false,
  });
});

test("subjects come in their own order, whatever order they are asked for in", () => {
  expect(parseOptions(["--only", "latency, throughput"]).only).toEqual(["throughput", "latency"]);
});

test("a quick run does less, but what is asked for is done", () => {
  const usual = parseOptions([]);
  const quick = parseOptions(["--quick"]);
  expect(quick.tasks).toBeLessThan(usual.tasks);
  expect(quick.rounds).toBeLessThan(usual.rounds);
  expect(parseOptions(["--quick", "--tasks", "123"]).tasks).toBe(123);
});
