import { openConnection } from "@swarm-mesh/bus";
import { CHECKPOINTS_BUCKET, checkpointKey, kvSubject, wireError } from "@swarm-mesh/protocol";
import { latch } from "@swarm-mesh/runtime";
import { expect } from "vitest";
import { CheckpointError, programHandler } from "../src/mod.ts";
import { codeOf } from "./control-plane.ts";
import { abortCode, test } from "./mesh.ts";

test("a drained node takes nothing new, lets tasks finish, and leaves in order", async ({
  mesh,
}) => {
  const { plane } = mesh;
  const go = latch<string>();
  const node = mesh.node().handle("wait", () => go.promise);
  await node.start();
  await plane.dispatch({ id: "t1", capability: "wait" });
  expect(await plane.drain({ reason: "upgrade" })).toEqual({ draining: true });
  await expect.poll(() => plane.deregistrations.length).toBe(1);
  expect(node.phase).toBe("leaving");
  expect(codeOf(await plane.dispatch({ id: "t2", capability: "wait" }))).toBe("busy");
  expect(await plane.ping()).toMatchObject({ running: 1 });
  go.resolve("finished");
  expect(await plane.outcomes.next()).toMatchObject({ ok: true, result: "finished" });
  expect(await node.closed).toBeUndefined();
  expect(plane.deregistrations).toEqual([
    { incarnation: 10, phase: "leaving", reason: "upgrade" },
    { incarnation: 10, phase: "left", reason: "upgrade" },
  ]);
  expect(await plane.ping()).toBe("no responders");
});

test("past the deadline tasks are handed back, saved, unless they finish after all", async ({
  mesh,
  nc,
}) => {
  const subject = kvSubject(CHECKPOINTS_BUCKET.name, checkpointKey("n1", "saves"));
  const saved = nc.subscribe(subject)[Symbol.asyncIterator]();
  const node = mesh.node();
  node.handle("saves", async (_, context) => {
    const code = await abortCode(context.signal);
    await context.checkpoint({ at: code });
    throw context.signal.reason;
  });
  node.handle("finishes", async (_, context) => {
    await abortCode(context.signal);
    return "after all";
  });
  await node.start();
  await mesh.plane.dispatch({ id: "saves", capability: "saves" });
  await mesh.plane.dispatch({ id: "finishes", capability: "finishes" });
  await node.drain({ deadlineMs: 20 });
  expect((await saved.next()).value?.json()).toEqual({ at: "draining" });
  const outcomes = Object.fromEntries(mesh.plane.outcomes.all.map((one) => [one.taskId, one]));
  expect(outcomes["finishes"]).toMatchObject({ ok: true, result: "after all" });
  expect(outcomes["saves"]).toMatchObject({
    ok: false,
    error: { code: "handed_back", retryable: true },
  });
});

test("a stop does not wait for a drain's deadline, nor longer than the grace", async ({ mesh }) => {
  const node = mesh.node({ graceMs: 100 }).handle("deaf", () => latch<void>().promise);
  await node.start();
  await mesh.plane.dispatch({ id: "t1", capability: "deaf" });
  const drained = node.drain({ deadlineMs: 60_000 });
  await node.stop();
  await drained;
  expect(await mesh.plane.outcomes.next()).toMatchObject({ error: { code: "handed_back" } });
  expect(node.phase).toBe("closed");
});

test("a node that lost its lease ends its tasks, keeps what is finished, and joins anew", async ({
  mesh,
}) => {
  const { plane } = mesh;
  plane.leaseTtlMs = 1_000;
  plane.answerOutcome = () => ({ error: wireError("unavailable", "later", true) });
  const aborted = latch<string>();
  const node = mesh.node();
  node.handle("wait", async (_, context) => {
    aborted.resolve(await abortCode(context.signal));
    return "too late";
  });
  node.handle("echo", (input) => input);
  node.handle("sleep", programHandler("echo $$; sleep 100"));
  await node.start();
  await plane.dispatch({ id: "waits", capability: "wait" });
  await plane.dispatch({ id: "sleeps", capability: "sleep" });
  plane.send({ id: "done", capability: "echo", payload: "1" });
  await plane.outcomes.next();

  await plane.steal();
  expect(await aborted.promise).toBe("lease_lost");
  await expect.poll(() => node.incarnation).toBe(20);
  await expect.poll(() => node.phase).toBe("active");
  expect(node.running).toBe(0);
  plane.answerOutcome = () => ({ answer: "recorded" });
  const stale = { id: "t2", capability: "echo", incarnation: 10 };
  expect(codeOf(await plane.dispatch(stale))).toBe("stale");
  plane.send({ id: "t3", capability: "echo", payload: "3" });
  await expect.poll(() => plane.outcomes.all.map((one) => one.taskId)).toContain("t3");
  expect(plane.outcomes.all.map((one) => one.taskId)).not.toContain("waits");
  expect(plane.outcomes.all.map((one) => one.taskId)).not.toContain("sleeps");
});

test("a handler that blocks the node beyond its lease is not believed", async ({ mesh }) => {
  const { plane } = mesh;
  plane.leaseTtlMs = 1_000;
  const node = mesh.node().handle("block", () => {
    const end = performance.now() + 950;
    while (performance.now() < end);
    return "done";
  });
  await node.start();
  plane.send({ id: "t1", capability: "block" });
  await expect.poll(() => node.incarnation, { timeout: 3_000 }).toBe(20);
  expect(plane.outcomes.all).toEqual([]);
});

test("a node whose connection is closed for good ends, and says why", async ({ mesh, server }) => {
  const connection = await openConnection({ servers: server.url, name: "node/n1", inbox: "n1" });
  const aborted = latch<string>();
  const node = mesh.node({ connection }).handle("wait", async (_, context) => {
    aborted.resolve(await abortCode(context.signal));
  });
  await node.start();
  await mesh.plane.dispatch({ id: "t1", capability: "wait" });
  await connection.close();
  expect(await aborted.promise).toBe("lease_lost");
  expect(await node.closed).toBeInstanceOf(Error);
});

test("a node whose link was down asks whether it was given up, and joins anew if so", async ({
  mesh,
  server,
}) => {
  const { plane } = mesh;
  const connection = await openConnection({ servers: server.url, name: "node/n1", inbox: "n1" });
  const node = mesh.node({ connection }).handle("echo", (input) => input);
  await node.start();
  const own = { id: "n1", incarnation: 10, capabilities: [], labels: {}, slots: 4 };
  plane.state = {
    leader: { instance: "c1", epoch: 1 },
    nodes: [{ ...own, state: "FAILED" }],
  };
  await connection.reconnect();
  await expect.poll(() => node.incarnation, { timeout: 3_000 }).toBe(20);
  await node.stop();
  expect(connection.isClosed()).toBe(false);
  await connection.close();
});

test("a checkpoint too large is refused with a code, the last one saved stands", async ({
  mesh,
}) => {
  const failed = latch<unknown>();
  const node = mesh.node().handle("save", async (_, context) => {
    await Promise.all([1, 2, 3].map((step) => context.checkpoint({ step })));
    await context.checkpoint(new Uint8Array(600_000)).catch(failed.resolve);
    return context.savedValue();
  });
  await node.start();
  mesh.plane.send({ id: "t1", capability: "save", checkpoint: "before" });
  expect(await mesh.plane.outcomes.next()).toMatchObject({ ok: true, result: "before" });
  const failure = await failed.promise;
  expect(failure).toBeInstanceOf(CheckpointError);
  expect(failure).toMatchObject({ code: "payload_too_large", retryable: false });
  const kv = await mesh.deps.manager.streams.getMessage(`KV_${CHECKPOINTS_BUCKET.name}`, {
    last_by_subj: kvSubject(CHECKPOINTS_BUCKET.name, checkpointKey("n1", "t1")),
  });
  expect(kv?.json()).toEqual({ step: 3 });
});
