import { expect, test } from "vitest";
import { latencyFigures, median, quantile, roundRatio } from "../src/stats.ts";

test("a quantile is the smallest sample that enough others do not exceed", () => {
  const samples = [5, 1, 4, 2, 3];
  expect(quantile(samples, 0.5)).toBe(3);
  expect(quantile(samples, 0.61)).toBe(4);
  expect(quantile(samples, 0.99)).toBe(5);
  expect(quantile(samples, 0)).toBe(1);
  expect(samples).toEqual([5, 1, 4, 2, 3]);
});

test("nothing has no quantile and no median", () => {
  expect(quantile([], 0.5)).toBeNaN();
  expect(median([])).toBeNaN();
});

test("the median of an even number is between the two in the middle", () => {
  expect(median([10, 1, 4, 2])).toBe(3);
  expect(median([7])).toBe(7);
});

test("a ratio is taken within each round, so a slow round does not count", () => {
  // Everything was ten times slower in the second round; the two medians would say 3.
  expect(roundRatio([200, 20, 300], [100, 10, 100])).toBe(2);
  expect(roundRatio([1, 2, 3], [1, 1])).toBe(1.5);
});

test("p99.9 of a thousand is the worst but one", () => {
  const samples = Array.from({ length: 1_000 }, (_, index) => index + 1);
  expect(latencyFigures(samples)).toEqual({
    count: 1_000,
    p50: 500,
    p99: 990,
    p999: 999,
    max: 1_000,
  });
});
