import { setTimeout as sleep } from "node:timers/promises";
import { latch } from "@swarm-mesh/runtime";
import { expect } from "vitest";
import { z } from "zod";
import { FinalError, JoinRefusedError, RetryableError } from "../src/mod.ts";
import { codeOf } from "./control-plane.ts";
import { abortCode, test } from "./mesh.ts";

test("joins: registers, syncs, and announces itself ready by taking its lease", async ({
  mesh,
}) => {
  const { plane } = mesh;
  plane.state = { leader: { instance: "c7", epoch: 3 }, nodes: [] };
  const node = mesh.node({ labels: { zone: "eu" }, slots: 3, version: "1.2.3", costPerHour: 2 });
  node.handle("echo", (input) => input).handle("other", () => 1);

  await node.start();

  expect(plane.registrations).toHaveLength(1);
  expect(plane.registrations[0]).toMatchObject({
    agents: [{ name: "main", slots: 3, capabilities: ["echo", "other"] }],
    labels: { zone: "eu" },
    role: "worker",
    version: "1.2.3",
    costPerHour: 2,
  });
  expect(await plane.leases.next()).toMatchObject({ incarnation: 10, running: 0, slots: 3 });
  expect(node.phase).toBe("active");
  expect(node.incarnation).toBe(10);
  expect(node.mesh?.leader.instance).toBe("c7");
  expect(await plane.ping()).toEqual({ incarnation: 10, running: 0 });
});

test("waits for a registry that is not there yet, and listens only once welcomed", async ({
  mesh,
  nc,
}) => {
  mesh.plane.refuse = "id_in_use";
  const node = mesh.node().handle("echo", (input) => input);
  const started = node.start();
  await expect.poll(() => mesh.plane.registrations.length).toBe(1);
  await nc.flush();
  expect(await mesh.plane.ping()).toBe("no responders");
  mesh.plane.refuse = undefined;
  await started;
  expect(await mesh.plane.ping()).toMatchObject({ incarnation: 10 });
});

test("gives up when the registry refuses it for good", async ({ mesh }) => {
  mesh.plane.refuse = "bad_request";
  const node = mesh.node().handle("echo", (input) => input);
  await expect(node.start()).rejects.toBeInstanceOf(JoinRefusedError);
  expect(await node.closed).toMatchObject({ code: "bad_request" });
  expect(node.phase).toBe("closed");
});

test("can be stopped while nobody answers its registration", async ({ server, deps: _ }) => {
  const { MeshNode } = await import("../src/mod.ts");
  const node = new MeshNode({ id: "alone", servers: server.url }).handle("echo", () => 1);
  const started = node.start();
  const refused = expect(started).rejects.toThrow("stopped");
  await node.stop();
  await refused;
  expect(await node.closed).toBeUndefined();
});

test("runs a task and reports its result once; the dispatch is answered behind it", async ({
  mesh,
}) => {
  const node = mesh.node().handle("double", (input) => Number(input) * 2);
  await node.start();
  const answer = mesh.plane.dispatch({ id: "t1", capability: "double", payload: "21" });
  expect(await mesh.plane.outcomes.next()).toEqual({
    nodeId: "n1",
    taskId: "t1",
    attempt: 1,
    epoch: 1,
    ok: true,
    result: 42,
    agent: "main",
  });
  expect(await answer).toEqual({ answer: "finished" });
  expect(mesh.plane.outcomes.all).toHaveLength(1);
  expect(node.running).toBe(0);
});

test("answers a dispatch with `running` when the handler takes longer than 50 ms", async ({
  mesh,
}) => {
  const go = latch<string>();
  await mesh
    .node()
    .handle("wait", () => go.promise)
    .start();
  expect(await mesh.plane.dispatch({ id: "t1", capability: "wait" })).toEqual({
    answer: "running",
  });
  go.resolve("done");
  expect(await mesh.plane.outcomes.next()).toMatchObject({ ok: true, result: "done" });
});

test("does not start a task and try twice: while running it says so, later it repeats the outcome", async ({
  mesh,
}) => {
  const go = latch<void>();
  let starts = 0;
  const node = mesh.node().handle("once", async () => {
    starts++;
    await go.promise;
    return starts;
  });
  await node.start();
  const first = mesh.plane.dispatch({ id: "t1", capability: "once" });
  expect(await mesh.plane.dispatch({ id: "t1", capability: "once", epoch: 2 })).toEqual({
    answer: "running",
  });
  expect(await first).toEqual({ answer: "running" });
  go.resolve();
  expect(await mesh.plane.outcomes.next()).toMatchObject({ epoch: 2, result: 1 });

  const again = await mesh.plane.dispatch({ id: "t1", capability: "once", epoch: 3 });
  expect(again).toEqual({ answer: "finished" });
  expect(await mesh.plane.outcomes.next()).toMatchObject({ epoch: 3, result: 1 });
  expect(starts).toBe(1);
});

test("runs a newer try, ends the older one without an outcome, refuses older ones", async ({
  mesh,
}) => {
  const aborted = latch<string>();
  const node = mesh.node().handle("work", async (_, context) => {
    if (context.attempt === 2) return "second";
    aborted.resolve(await abortCode(context.signal));
    return "first";
  });
  await node.start();
  await mesh.plane.dispatch({ id: "t1", capability: "work" });
  mesh.plane.send({ id: "t1", capability: "work", attempt: 2 });
  expect(await aborted.promise).toBe("superseded");
  expect(await mesh.plane.outcomes.next()).toMatchObject({ attempt: 2, result: "second" });
  expect(codeOf(await mesh.plane.dispatch({ id: "t1", capability: "work" }))).toBe("stale");
  expect(mesh.plane.outcomes.all).toHaveLength(1);
});

test("refuses what is meant for another life or comes from an older term", async ({ mesh }) => {
  await mesh
    .node()
    .handle("echo", (input) => input)
    .start();
  const { plane } = mesh;
  const other = { id: "t1", capability: "echo", incarnation: 9 };
  expect(codeOf(await plane.dispatch(other))).toBe("stale");
  plane.send({ id: "t2", capability: "echo", epoch: 5 });
  await plane.outcomes.next();
  expect(codeOf(await plane.dispatch({ id: "t3", capability: "echo", epoch: 4 }))).toBe("stale");
  expect(codeOf(await plane.cancel({ taskId: "t2", epoch: 4 }))).toBe("stale");
});

test("refuses a capability it does not have, and a task beyond its slots", async ({ mesh }) => {
  const go = latch<void>();
  const node = mesh.node({ slots: 1 }).handle("wait", () => go.promise);
  await node.start();
  const { plane } = mesh;
  expect(codeOf(await plane.dispatch({ id: "t0", capability: "nothing" }))).toBe(
    "unknown_capability",
  );
  plane.send({ id: "t1", capability: "wait" });
  expect(codeOf(await plane.dispatch({ id: "t2", capability: "wait" }))).toBe("busy");
  expect(await plane.ping()).toMatchObject({ running: 1 });
  go.resolve();
  await plane.outcomes.next();
  plane.send({ id: "t2", capability: "wait" });
  expect(await plane.outcomes.next()).toMatchObject({ taskId: "t2", ok: true, result: null });
});

test("counts and refuses messages without the mesh's headers", async ({ mesh }) => {
  const node = mesh.node().handle("echo", (input) => input);
  await node.start();
  expect(codeOf(await mesh.plane.request("task", "x"))).toBe("bad_request");
  expect(codeOf(await mesh.plane.dispatch({ id: "a b", capability: "echo" }))).toBe("bad_request");
  expect(codeOf(await mesh.plane.request("cancel", "x"))).toBe("bad_request");
  expect(codeOf(await mesh.plane.request("drain", "[]"))).toBe("bad_request");
  expect(node.counts?.malformed).toBe(2);
});

test("checks payload and result against their schemas", async ({ mesh }) => {
  const { plane } = mesh;
  const node = mesh.node();
  node.handle("size", { input: z.object({ url: z.string() }) }, ({ url }) => url.length);
  node.handle("wrong", { output: z.object({ size: z.number() }) }, () => ({ size: "9" as never }));
  node.handle("empty", { input: z.undefined() }, () => "nothing given");
  await node.start();

  plane.send({ id: "t1", capability: "size", payload: '{"url":"abc"}' });
  expect(await plane.outcomes.next()).toMatchObject({ ok: true, result: 3 });
  plane.send({ id: "t2", capability: "size", payload: '{"url":7}' });
  expect(await plane.outcomes.next()).toMatchObject({
    ok: false,
    error: { code: "invalid_input", retryable: false, message: expect.stringContaining("url: ") },
  });
  plane.send({ id: "t3", capability: "size", payload: "not json" });
  expect(await plane.outcomes.next()).toMatchObject({ error: { code: "invalid_input" } });
  plane.send({ id: "t4", capability: "wrong" });
  expect(await plane.outcomes.next()).toMatchObject({
    error: { code: "invalid_output", retryable: false },
  });
  plane.send({ id: "t5", capability: "empty" });
  expect(await plane.outcomes.next()).toMatchObject({ result: "nothing given" });
});

test("tells failures apart: to be tried again, or final", async ({ mesh }) => {
  const failures: Record<string, () => unknown> = {
    plain: () => {
      throw new Error("odd");
    },
    final: () => Promise.reject(new FinalError("never", { code: "no_such_user" })),
    finally: () => Promise.reject(new FinalError("never")),
    again: () => Promise.reject(new RetryableError("later", { code: "rate_limited" })),
    text: () => Promise.reject("just text"),
    circular: () => {
      const loop: Record<string, unknown> = {};
      loop["self"] = loop;
      return loop;
    },
    closure: () => () => 1,
    large: () => "x".repeat(1024 * 1024 + 1),
  };
  const node = mesh.node();
  for (const [name, handler] of Object.entries(failures)) node.handle(name, handler);
  await node.start();
  const outcomeOf = async (capability: string) => {
    mesh.plane.send({ id: `t-${capability}`, capability });
    const outcome = await mesh.plane.outcomes.next();
    return outcome.ok ? undefined : [outcome.error.code, outcome.error.retryable];
  };
  expect(await outcomeOf("plain")).toEqual(["handler_failed", true]);
  expect(await outcomeOf("final")).toEqual(["no_such_user", false]);
  expect(await outcomeOf("finally")).toEqual(["handler_final", false]);
  expect(await outcomeOf("again")).toEqual(["rate_limited", true]);
  expect(await outcomeOf("text")).toEqual(["handler_failed", true]);
  expect(await outcomeOf("circular")).toEqual(["handler_final", false]);
  expect(await outcomeOf("closure")).toEqual(["handler_final", false]);
  expect(await outcomeOf("large")).toEqual(["payload_too_large", false]);
});

test("reports a time-out when the handler ends, or after a grace when it does not", async ({
  mesh,
}) => {
  const node = mesh.node({ slots: 2, graceMs: 200 });
  node.handle("polite", (_, context) => abortCode(context.signal));
  const never = latch<void>();
  node.handle("deaf", () => never.promise);
  await node.start();
  mesh.plane.send({ id: "t1", capability: "deaf", timeout: "100ms" });
  mesh.plane.send({ id: "t2", capability: "polite", timeout: "100ms" });
  const timeout = { ok: false, error: { code: "timeout", retryable: true } };
  expect(await mesh.plane.outcomes.next()).toMatchObject({ taskId: "t2", ...timeout });
  expect(await mesh.plane.outcomes.next()).toMatchObject({ taskId: "t1", ...timeout });
  expect(node.running).toBe(1);
  never.resolve();
  await expect.poll(() => node.running).toBe(0);
});

test("cancels a running task, whose outcome nobody needs then", async ({ mesh }) => {
  const aborted = latch<string>();
  const node = mesh.node().handle("wait", async (_, context) => {
    aborted.resolve(await abortCode(context.signal));
  });
  await node.start();
  await mesh.plane.dispatch({ id: "t1", capability: "wait" });
  expect(await mesh.plane.cancel({ taskId: "t1" })).toEqual({ cancelled: true });
  expect(await aborted.promise).toBe("cancelled");
  expect(await mesh.plane.cancel({ taskId: "t1" })).toEqual({ cancelled: false });
  await expect.poll(() => node.running).toBe(0);
  expect(mesh.plane.outcomes.all).toEqual([]);
});

test("sends an outcome until it is recorded", async ({ mesh }) => {
  const answers: unknown[] = [
    { error: { code: "not_leader", message: "", retryable: true } },
    "nonsense",
    { answer: "recorded" },
  ];
  mesh.plane.answerOutcome = () => answers.shift();
  await mesh
    .node()
    .handle("echo", (input) => input)
    .start();
  mesh.plane.send({ id: "t1", capability: "echo", payload: '"hi"' });
  for (let sent = 1; sent <= 3; sent++) {
    expect(await mesh.plane.outcomes.next()).toMatchObject({ taskId: "t1", result: "hi" });
  }
  await sleep(150);
  expect(mesh.plane.outcomes.all).toHaveLength(3);
});

test("sends progress, coalesced to the latest", async ({ mesh }) => {
  const go = latch<void>();
  const node = mesh.node().handle("steps", async (_, context) => {
    for (let step = 1; step <= 50; step++) context.progress({ step });
    await go.promise;
    context.progress(1n);
    context.progress("x".repeat(100_000));
  });
  await node.start();
  mesh.plane.send({ id: "t1", capability: "steps" });
  expect(await mesh.plane.progress.next()).toEqual({
    taskId: "t1",
    attempt: 1,
    progress: { step: 50 },
  });
  go.resolve();
  await mesh.plane.outcomes.next();
  expect(mesh.plane.progress.all).toHaveLength(1);
});
