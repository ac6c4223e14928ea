import { expect, test } from "vitest";
import { Meters, OTHER } from "../src/mod.ts";

test("a metric with labels has one cell for each combination", () => {
  const family = new Meters().counters({ name: "a_total", help: "A.", labels: ["x", "y"] });
  family.of("1", "2").inc();
  family.of("1", "2").inc(2);
  family.of("12", "").inc();
  expect(Array.from(family.cells(), ([labels, { value }]) => [labels, value])).toEqual([
    [["1", "2"], 3],
    [["12", ""], 1],
  ]);
});

test("beyond the limit all further combinations are one", () => {
  const family = new Meters().counters({ name: "a_total", help: "A.", labels: ["x", "y"] });
  for (let index = 0; index < 5_000; index++) family.of(String(index), "y").inc();
  const cells = [...family.cells()];
  expect(cells).toHaveLength(1_001);
  expect(cells.at(-1)).toMatchObject([[OTHER, OTHER], { value: 4_000 }]);
});

test("known values are there from the start, with 0", async () => {
  const meters = new Meters();
  meters.counters({ name: "a_total", help: "A.", labels: ["x"] }, ["b", "c"]);
  const [meter] = [...meters.all()];
  const samples = meter?.type === "counter" ? await meter.read() : [];
  expect(samples).toEqual([
    { labels: ["b"], value: 0 },
    { labels: ["c"], value: 0 },
  ]);
});

test("an observation falls into the first bucket that is not below it", () => {
  const histogram = new Meters().histogram({ name: "a_seconds", help: "A." }, [0.1, 1]);
  for (const ms of [0, 100, 101, 1_000, 5_000, -3]) histogram.observeMs(ms);
  expect([...histogram.counts]).toEqual([3, 2, 1]);
  expect(histogram.sum).toBeCloseTo(6.201);
});

test("a name is taken once", () => {
  const meters = new Meters();
  meters.counter({ name: "a_total", help: "A." });
  expect(() => meters.gauge({ name: "a_total", help: "A." }, () => 0)).toThrow("a_total");
});
