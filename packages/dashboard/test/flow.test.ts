import { describe, expect, test } from "vitest";
import { Flow, quantile, recentOf } from "../src/page/flow.ts";
import { ROWS_MAX, TaskIndex } from "../src/page/task-index.ts";
import { record } from "./records.ts";

describe("flow", () => {
  test("counts what started, ended and moved, second by second", () => {
    const flow = new Flow();
    flow.tick(100, true);
    flow.add(record({ id: "a", status: "running" }), undefined);
    flow.add(record({ id: "a", status: "running", progress: 1 }), { attempt: 1 });
    flow.add(record({ id: "a", status: "running", attempt: 2, moves: 1 }), { attempt: 1 });
    flow.add(record({ id: "a", status: "succeeded", tookMs: 250 }), { attempt: 2 });
    flow.add(record({ id: "b", status: "failed", tookMs: 50 }), { attempt: 1 });
    flow.tick(101, true);
    expect(flow.seconds[0]).toMatchObject({
      ...{ at: 100, started: 2, moved: 1, succeeded: 1, failed: 1, latencies: [250, 50] },
    });
    expect(recentOf(flow.seconds, 10)).toMatchObject({ finishedPerSecond: 2, failedShare: 0.5 });
  });

  test("tells a second without a connection, or that nobody watched, from one without tasks", () => {
    const flow = new Flow();
    flow.tick(1, true);
    flow.tick(1, false);
    flow.tick(4, true);
    const connected = flow.seconds.map((second) => [second.at, second.connected]);
    expect(connected).toEqual([
      [1, false],
      [2, false],
      [3, false],
      [4, true],
    ]);
  });

  test("keeps ten minutes, however long nobody looked", () => {
    const flow = new Flow();
    flow.tick(1, true);
    flow.tick(100_000, true);
    expect(flow.seconds).toHaveLength(600);
    expect(flow.seconds.at(-1)?.at).toBe(100_000);
  });

  test("reads a part of the tasks when there are too many, each whole, and scales the counts", () => {
    const flow = new Flow();
    flow.tick(1, true);
    for (let index = 0; index < 20_000; index++) flow.arrives(`t${index}`, false);
    flow.tick(2, true);
    expect(flow.stride).toBe(20);
    let read = 0;
    const one = record({ id: "t", status: "succeeded", tookMs: 5 });
    for (let index = 0; index < 10_000; index++) {
      const id = `t${index}`;
      const first = flow.arrives(id, false);
      expect(flow.arrives(id, false)).toBe(first);
      if (!first) continue;
      read++;
      flow.add({ ...one, id }, { attempt: 1 });
    }
    expect(read).toBeLessThan(1_000);
    expect(flow.seconds.at(-1)?.succeeded).toBeGreaterThan(8_000);
    expect(flow.seconds.at(-1)?.succeeded).toBeLessThan(12_000);
    expect(flow.seconds.at(-1)?.latencies.length).toBeLessThanOrEqual(500);
    // What the page shows already is read in any case.
    expect(flow.arrives("shown", true)).toBe(true);
  });
});

test.each([
  [[], 0.5, undefined],
  [[3], 0.99, 3],
  [[4, 1, 3, 2], 0.5, 2],
  [[4, 1, 3, 2], 0.99, 4],
])("of %j the quantile %d is %s", (values, q, expected) => {
  expect(quantile(values, q)).toBe(expected);
});

describe("the index of tasks", () => {
  const all = { text: "", status: "", capability: "", node: "" };

  test("keeps each task's newest revision, newest change first", () => {
    const index = new TaskIndex();
    index.put(record({ id: "a", status: "succeeded" }), 3);
    index.put(record({ id: "b", status: "running" }), 2);
    index.put(record({ id: "a", status: "running" }), 1);
    const { rows } = index.search(all, 10);
    expect(rows.map(({ id, status }) => `${id} ${status}`)).toEqual(["a succeeded", "b running"]);
    expect(index.running().map(({ id }) => id)).toEqual(["b"]);
  });

  test("finds by words anywhere, and by what a field is", () => {
    const index = new TaskIndex();
    index.put(record({ id: "order-1", status: "failed" }), 1);
    index.put(record({ id: "order-2", status: "succeeded" }), 2);
    expect(index.search({ ...all, text: "order DISK" }, 10).all).toBe(1);
    expect(index.search({ ...all, status: "succeeded", node: "n1" }, 10).all).toBe(1);
    expect(index.search({ ...all, capability: "other" }, 10).all).toBe(0);
    expect(index.search(all, 1)).toMatchObject({ all: 2, rows: [{ id: "order-2" }] });
  });

  test("is bounded, and the past never pushes out what came later", () => {
    const index = new TaskIndex();
    const one = record({ id: "t", status: "running" });
    for (let at = 1; at <= ROWS_MAX + 1; at++) index.put({ ...one, id: `t${at}` }, at);
    expect(index.size).toBe(ROWS_MAX);
    expect(index.get("t1")).toBeUndefined();
    expect(index.putOld(record({ id: "old", status: "failed" }), 0)).toBe(false);
    expect(index.get("t2")?.id).toBe("t2");
  });
});
