import { BATCH_MAX, type BatchedTask, wireError } from "@swarm-mesh/protocol";
import { latch, Meters } from "@swarm-mesh/runtime";
import { expect } from "vitest";
import { PENDING_OUTCOMES_MAX } from "../src/outbox.ts";
import { test } from "./mesh.ts";

const task = (taskId: string, capability: string, text = "", attempt = 1): BatchedTask => {
  const payload = new TextEncoder().encode(text);
  const head = { taskId, capability, attempt, timeoutMs: 60_000, bytes: payload.length };
  return { head, payload };
};

test("says that it reads batches, runs each task of one, and tells their ends together", async ({
  mesh,
}) => {
  const node = mesh.node({ slots: 8 }).handle("double", (input) => Number(input) * 2);
  await node.start();
  const { plane } = mesh;
  expect(plane.registrations[0]).toMatchObject({ batches: true });
  plane.give(Array.from({ length: 6 }, (_, i) => task(`t${i}`, "double", String(i))));
  for (let i = 0; i < 6; i++) {
    expect(await plane.outcomes.next()).toMatchObject({ taskId: `t${i}`, ok: true, result: i * 2 });
  }
  expect(plane.batches).toEqual([6]);
});

test("turns down what it cannot take by an outcome, since nobody waits for an answer", async ({
  mesh,
}) => {
  const go = latch<void>();
  const node = mesh.node({ slots: 1 }).handle("wait", () => go.promise);
  await node.start();
  const { plane } = mesh;
  plane.give([task("t0", "nothing"), task("t1", "wait"), task("t2", "wait")]);
  const turnedDown = [await plane.outcomes.next(), await plane.outcomes.next()];
  expect(turnedDown).toMatchObject([
    { taskId: "t0", ok: false, error: { code: "unknown_capability" } },
    { taskId: "t2", ok: false, error: { code: "busy" } },
  ]);
  go.resolve();
  expect(await plane.outcomes.next()).toMatchObject({ taskId: "t1", ok: true });
  // The same tries again are told again; the next one of what was turned down may be taken now.
  plane.give([task("t1", "wait"), task("t2", "wait"), task("t2", "wait", "", 2)]);
  const again = [1, 2, 3].map(() => plane.outcomes.next());
  expect(await Promise.all(again)).toMatchObject([
    { taskId: "t1", attempt: 1, ok: true },
    { taskId: "t2", attempt: 1, ok: false, error: { code: "busy" } },
    { taskId: "t2", attempt: 2, ok: true },
  ]);
});

test("turns down by outcomes no more than may wait to be told; of the rest it tells who asks", async ({
  mesh,
}) => {
  const meters = new Meters();
  const node = mesh.node({ meters }).handle("echo", (input) => input);
  await node.start();
  const { plane } = mesh;
  plane.answerOutcome = () => ({ error: wireError("unavailable", "the store is away", true) });
  const given = PENDING_OUTCOMES_MAX + 10 * BATCH_MAX;
  for (let from = 0; from < given; from += BATCH_MAX) {
    plane.give(Array.from({ length: BATCH_MAX }, (_, i) => task(`t${from + i}`, "nothing")));
  }
  await expect.poll(() => node.counts?.refused, { timeout: 10_000 }).toBeGreaterThanOrEqual(given);
  const waiting = [...meters.all()].find(({ name }) => name === "mesh_node_outcomes_waiting");
  const read = waiting !== undefined && "read" in waiting ? await waiting.read() : [];
  expect(read).toMatchObject([{ value: PENDING_OUTCOMES_MAX }]);
  expect(await plane.dispatch({ id: `t${given - 1}`, capability: "nothing" })).toMatchObject({
    error: { code: "unknown_capability" },
  });
  plane.answerOutcome = () => ({ answer: "recorded" });
});

test("runs nothing of a batch for another life, of an older term, or that cannot be read", async ({
  mesh,
}) => {
  const node = mesh.node().handle("echo", (input) => input);
  await node.start();
  const { plane } = mesh;
  plane.give([task("t0", "echo", "0")], 5);
  expect(await plane.outcomes.next()).toMatchObject({ taskId: "t0", epoch: 5 });
  plane.give([task("t1", "echo")], 5, plane.incarnation + 1);
  plane.give([task("t2", "echo")], 4);
  await plane.request("tasks", "no batch", 100);
  plane.give([task("t3", "echo", "3")], 5);
  expect(await plane.outcomes.next()).toMatchObject({ taskId: "t3", result: 3 });
  expect(plane.outcomes.all).toHaveLength(2);
  expect(node.counts?.malformed).toBe(1);
});
