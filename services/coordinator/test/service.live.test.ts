import { ask, type Requester } from "@swarm-mesh/bus";
import { createLogger } from "@swarm-mesh/process";
import {
  cancelSubject,
  encode,
  getSubject,
  Header,
  Held,
  heldSubject,
  kvSubject,
  LIST_SUBJECT,
  type ListTasks,
  MESH_DEAD,
  MoveAnswer,
  moveSubject,
  SyncAnswer,
  syncSubject,
  TaskList,
  TaskRecord,
} from "@swarm-mesh/protocol";
import { type Deps, test } from "@swarm-mesh/testkit";
import { createInbox } from "nats";
import { expect } from "vitest";
import { Config } from "../src/config.ts";
import { coordinator } from "../src/service.ts";
import { PlainNode, recordWhen, submit } from "./plain-node.ts";

const config = Config.parse({ leaderLeaseTtlMs: 1000, sweepIntervalMs: 100, acceptTimeoutMs: 300 });
const log = createLogger({
  service: "coordinator",
  instance: "test",
  level: process.env["LOG"] ?? "silent",
});

const start =
  (deps: Deps, instance = "c1", overrides: Partial<Config> = {}) =>
  (signal: AbortSignal) =>
    coordinator.run({ ...config, ...overrides }, { ...deps, log, instance }, signal);

test("runs a task published with plain NATS and records its result", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  const seq = await submit(deps, "mesh.tasks.submit.echo", '{"a":1}');
  const given = await n1.next();
  expect(given).toMatchObject({ id: `s${seq}`, attempt: 1, payload: '{"a":1}' });
  expect(await n1.report(given, { ok: true, result: { b: 2 } })).toBe("recorded");
  const record = await recordWhen(deps, given.id, (r) => r.status === "succeeded");
  expect(record).toMatchObject({ result: { b: 2 }, node: "n1", attempt: 1, lane: "normal" });
  expect(await n1.report(given, { ok: true, result: { b: 2 } })).toBe("recorded");
  expect(await n1.report(given, { ok: false, error: someError })).toBe("stale");
  expect((await deps.manager.streams.info("MESH_TASKS")).state.messages).toBe(0);
});

test("runs the same id once, whenever it is submitted again", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  await submit(deps, "mesh.tasks.submit.echo", "1", { [Header.msgId]: "once" });
  const given = await n1.next();
  // The server's own window is over after two minutes; another subject lets the copy in at once.
  await submit(deps, "mesh.tasks.submit.echo.high", "2", { "Nats-Msg-Id": "other" });
  const other = await n1.next();
  await n1.report(given, { ok: true, result: 1 });
  await n1.report(other, { ok: true, result: 2 });
  await recordWhen(deps, "once", (r) => r.status === "succeeded");
  await deps.manager.streams.purge("MESH_TASKS");
  expect(n1.unseen).toBe(0);
});

test.for([
  { header: "Mesh-Max-Attempts", value: "0" },
  { header: "Mesh-Timeout", value: "banana" },
  { header: "Mesh-Backoff", value: "linear:2s" },
  { header: "Mesh-Requires", value: "gpu" },
  { header: "Mesh-Prefer", value: "a.b" },
  { header: "Mesh-Strategy", value: "best" },
])(
  "rejects $header: $value with a reason and a dead letter",
  async ({ header, value }, { deps, run }) => {
    run(start(deps));
    await PlainNode.join(deps, "n1");
    const seq = await submit(deps, "mesh.tasks.submit.echo", "x", { [header]: value });
    const record = await recordWhen(deps, `s${seq}`, (r) => r.status === "rejected");
    expect(record.error?.code).toBe("bad_header");
    expect(record.error?.message).toContain(header);
    expect(record.error?.message).toContain(value);
    const dead = await deadLetter(deps, `s${seq}`);
    expect(dead.body).toBe("x");
  },
);

test.for(["mesh.tasks.submit.echo.urgent", "mesh.tasks.submit.échо", "mesh.tasks.submit.a.b.c"])(
  "rejects a submit on %s",
  async (subject, { deps, run }) => {
    run(start(deps));
    await PlainNode.join(deps, "n1");
    const seq = await submit(deps, subject, "x");
    const record = await recordWhen(deps, `s${seq}`, (r) => r.status === "rejected");
    expect(record.error?.code).toBe("bad_capability");
  },
);

test("gives a task with an impossible id the stream's", async ({ deps, run }) => {
  run(start(deps));
  await PlainNode.join(deps, "n1");
  const seq = await submit(deps, "mesh.tasks.submit.echo", "x", { "Nats-Msg-Id": "a.b>*" });
  const record = await recordWhen(deps, `s${seq}`, (r) => r.status === "rejected");
  expect(record.error?.message).toContain("a.b>*");
});

test("tries again after a retryable error, later, and gives up when the tries are used", async ({
  deps,
  run,
}) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  await submit(deps, "mesh.tasks.submit.echo.high", "x", {
    [Header.msgId]: "t1",
    [Header.backoff]: "fixed:100ms",
    [Header.maxAttempts]: "2",
  });
  const first = await n1.next();
  expect(await n1.report(first, { ok: false, error: someError })).toBe("recorded");
  expect((await recordWhen(deps, "t1", () => true)).status).toBe("retrying");
  const second = await n1.next();
  expect(second).toMatchObject({ id: "t1", attempt: 2, payload: "x" });
  expect(await n1.report(first, { ok: true, result: 1 })).toBe("stale");
  expect(await n1.report(second, { ok: false, error: someError })).toBe("recorded");
  const record = await recordWhen(deps, "t1", (r) => r.status === "failed");
  expect(record.tries.map((one) => one.attempt)).toEqual([1, 2]);
  expect(record.lane).toBe("high");
  expect((await deadLetter(deps, "t1")).headers.get(Header.status)).toBe("failed");
});

test("does not try again after a final error", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  await submit(deps, "mesh.tasks.submit.echo", "x", { [Header.msgId]: "t1" });
  const given = await n1.next();
  await n1.report(given, { ok: false, error: { ...someError, retryable: false } });
  await recordWhen(deps, "t1", (r) => r.status === "failed" && r.attempt === 1);
});

test("places a task again at once when its node is not there", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  const n2 = await PlainNode.join(deps, "n2");
  n1.vanish();
  await submit(deps, "mesh.tasks.submit.echo", "x", {
    [Header.prefer]: "n1",
    [Header.msgId]: "t1",
  });
  const given = await n2.next();
  expect(given).toMatchObject({ id: "t1", attempt: 2 });
  await n2.report(given, { ok: true, result: null });
  const record = await recordWhen(deps, "t1", (r) => r.status === "succeeded");
  expect(record.migrations).toMatchObject([{ from: "n1", to: "n2", reason: "no_responders" }]);
});

test("moves a task on request once, with its checkpoint, and uses no try up", async ({
  deps,
  run,
}) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1", { slots: 1 });
  await submit(deps, "mesh.tasks.submit.echo", "x", {
    [Header.msgId]: "t1",
    [Header.maxAttempts]: "1",
  });
  const given = await n1.next();
  n1.accept(given);
  await deps.requester.stored(kvSubject("mesh_checkpoints", "n1.t1"), "half");
  const n2 = await PlainNode.join(deps, "n2");
  n1.vanish();
  await n1.setState("FAILED");
  expect(await heldBy(deps.requester, "n1")).toEqual([{ id: "t1", attempt: 1 }]);
  const move = { from: "n1", attempt: 1, reason: "node_failed" };
  const answers = await Promise.all(
    [1, 2].map(() => ask(deps.requester, moveSubject("t1"), move, MoveAnswer)),
  );
  expect(answers.map((a) => a.kind === "ok" && a.value.answer).sort()).toEqual(["moved", "stale"]);
  const again = await n2.next();
  expect(again.attempt).toBe(2);
  expect(Buffer.from(again.headers.get(Header.checkpoint), "base64").toString()).toBe("half");
  expect(await n1.report(given, { ok: true, result: "late" })).toBe("stale");
  await n2.report(again, { ok: false, error: someError });
  const record = await recordWhen(deps, "t1", (r) => r.status === "failed");
  expect(record.tries).toHaveLength(1);
});

test("moves an orphan by itself when nobody asks", async ({ deps, run }) => {
  run(start(deps, "c1", { orphanAfterMs: 200 }));
  const n1 = await PlainNode.join(deps, "n1");
  await submit(deps, "mesh.tasks.submit.echo", "x", { [Header.msgId]: "t1" });
  n1.accept(await n1.next());
  const n2 = await PlainNode.join(deps, "n2");
  await n1.setState("FAILED");
  expect(await n2.next()).toMatchObject({ id: "t1", attempt: 2 });
});

test("a moved task nobody can take waits, and runs when a node comes", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  await submit(deps, "mesh.tasks.submit.echo", "x", { [Header.msgId]: "t1" });
  n1.accept(await n1.next());
  n1.vanish();
  await n1.setState("FAILED");
  const move = { from: "n1", attempt: 1, reason: "node_failed" };
  await ask(deps.requester, moveSubject("t1"), move, MoveAnswer);
  expect(await recordWhen(deps, "t1", (r) => r.status === "retrying")).toMatchObject({
    migrations: [{ from: "n1", to: null }],
  });
  const n2 = await PlainNode.join(deps, "n2");
  expect(await n2.next()).toMatchObject({ id: "t1", attempt: 2 });
  await recordWhen(deps, "t1", (r) => r.migrations[0]?.to === "n2");
});

test("a new leader goes on with what the old one had", async ({ deps, run }) => {
  const stopFirst = new AbortController();
  run((signal) => start(deps)(AbortSignal.any([signal, stopFirst.signal])));
  const n1 = await PlainNode.join(deps, "n1");
  const n2 = await PlainNode.join(deps, "n2", { capabilities: ["other"] });
  await submit(deps, "mesh.tasks.submit.echo", "a", { [Header.msgId]: "a" });
  await submit(deps, "mesh.tasks.submit.other", "b", { [Header.msgId]: "b" });
  const given = await n1.next();
  n1.accept(given);
  n2.accept(await n2.next());
  run(start(deps, "c2"));
  stopFirst.abort();
  const question = await n1.next();
  expect(question).toMatchObject({ id: "a", attempt: 1 });
  expect(question.epoch).toBeGreaterThan(given.epoch);
  n1.accept(question);
  n2.accept(await n2.next());
  expect(await n1.report(given, { ok: true, result: 1 })).toBe("recorded");
  await recordWhen(deps, "a", (r) => r.status === "succeeded" && r.epoch === question.epoch);
  await recordWhen(deps, "b", (r) => r.epoch === question.epoch);
});

test("a new leader leaves what it adopts to a node that nobody hears at that moment", async ({
  deps,
  run,
}) => {
  const stopFirst = new AbortController();
  run((signal) => start(deps)(AbortSignal.any([signal, stopFirst.signal])));
  const n1 = await PlainNode.join(deps, "n1");
  await submit(deps, "mesh.tasks.submit.echo", "a", { [Header.msgId]: "a" });
  const given = await n1.next();
  n1.accept(given);
  stopFirst.abort();
  n1.vanish();
  const n2 = await PlainNode.join(deps, "n2");
  run(start(deps, "c2"));
  // Placed after the question, about which the server has then had its word.
  const after = { [Header.msgId]: "b", [Header.prefer]: "n2" };
  await submit(deps, "mesh.tasks.submit.echo", "b", after);
  const b = await n2.next();
  expect(b).toMatchObject({ id: "b", attempt: 1 });
  n2.accept(b);
  n1.listen();
  const question = await n1.next();
  expect(question).toMatchObject({ id: "a", attempt: 1 });
  expect(question.epoch).toBeGreaterThan(given.epoch);
  expect(await n1.report(given, { ok: true, result: 1 })).toBe("recorded");
});

test("on a cluster, what was lost on its way to the leader comes again with the link", async ({
  deps,
  run,
}) => {
  run(start({ ...deps, replicas: 3 }, "c1", { leaderLeaseTtlMs: 12_000 }));
  const n1 = await PlainNode.join(deps, "n1", { slots: 1 });
  await submit(deps, "mesh.tasks.submit.echo", "first");
  const first = await n1.next();
  // Delivered, as the server knows, and in nobody's hands.
  await submit(deps, "mesh.tasks.submit.echo", "lost", { [Header.msgId]: "lost" });
  const pull = "$JS.API.CONSUMER.MSG.NEXT.MESH_TASKS.normal-echo";
  const reply = createInbox();
  const taken = deps.nc.subscribe(reply, { max: 1 });
  deps.nc.publish(pull, '{"batch":1,"no_wait":true}', { reply });
  for await (const delivered of taken) expect(delivered.string()).toBe("lost");
  await n1.report(first, { ok: true, result: 1 });

  await deps.nc.reconnect();

  const given = await n1.next();
  expect(given).toMatchObject({ id: "lost", attempt: 1, payload: "lost" });
  expect(await n1.report(given, { ok: true, result: 2 })).toBe("recorded");
  const isSettled = async () =>
    (await deps.manager.streams.info("MESH_TASKS")).state.messages === 0;
  while (!(await isSettled())) await deps.clock.sleep(20);
  expect(n1.unseen).toBe(0);
});

test("a new leader moves what a dead node had", async ({ deps, run }) => {
  const stopFirst = new AbortController();
  run((signal) => start(deps)(AbortSignal.any([signal, stopFirst.signal])));
  const n1 = await PlainNode.join(deps, "n1");
  await submit(deps, "mesh.tasks.submit.echo", "a", { [Header.msgId]: "a" });
  n1.accept(await n1.next());
  stopFirst.abort();
  n1.vanish();
  await n1.setState("FAILED");
  const n2 = await PlainNode.join(deps, "n2");
  run(start(deps, "c2"));
  expect(await n2.next()).toMatchObject({ id: "a", attempt: 2 });
});

test("cancels a waiting task, which then never runs", async ({ deps, run }) => {
  run(start(deps));
  await submit(deps, "mesh.tasks.submit.echo", "x", { [Header.msgId]: "t1" });
  const cancelled = await askUntil(deps.requester, cancelSubject("t1"));
  expect(cancelled.status).toBe("cancelled");
  const n1 = await PlainNode.join(deps, "n1");
  await submit(deps, "mesh.tasks.submit.echo", "y", { [Header.msgId]: "t2" });
  expect((await n1.next()).id).toBe("t2");
  expect(n1.unseen).toBe(0);
});

test("cancels a running task and tells its node", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  const orders = deps.nc.subscribe("mesh.node.n1.cancel")[Symbol.asyncIterator]();
  await submit(deps, "mesh.tasks.submit.echo", "x", { [Header.msgId]: "t1" });
  const given = await n1.next();
  n1.accept(given);
  expect((await askUntil(deps.requester, cancelSubject("t1"))).status).toBe("cancelled");
  expect((await orders.next()).value?.json()).toMatchObject({ taskId: "t1", attempt: 1 });
  expect(await n1.report(given, { ok: true, result: 1 })).toBe("stale");
  expect((await askUntil(deps.requester, cancelSubject("t1"))).status).toBe("cancelled");
});

test("high overtakes low, and labels nobody has block nothing", async ({ deps, run }) => {
  for (const id of ["l1", "l2", "l3"]) {
    await submit(deps, "mesh.tasks.submit.echo.low", "x", { [Header.msgId]: id });
  }
  await submit(deps, "mesh.tasks.submit.echo.high", "x", {
    [Header.msgId]: "gpu",
    [Header.requires]: "gpu=a100",
  });
  await submit(deps, "mesh.tasks.submit.nobody", "x", { [Header.msgId]: "never" });
  await submit(deps, "mesh.tasks.submit.echo.high", "x", { [Header.msgId]: "h1" });
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1", { slots: 1 });
  const order: string[] = [];
  for (let count = 0; count < 4; count++) {
    const given = await n1.next();
    order.push(given.id);
    await n1.report(given, { ok: true, result: null });
  }
  expect(order[0]).toBe("h1");
  expect(order.slice(1)).toEqual(["l1", "l2", "l3"]);
  const gpu = await PlainNode.join(deps, "g1", { labels: { gpu: "a100" } });
  expect((await gpu.next()).id).toBe("gpu");
});

test("never gives a node more than its slots", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1", { slots: 2 });
  for (let count = 0; count < 20; count++) await submit(deps, "mesh.tasks.submit.echo", "x");
  const held = [await n1.next(), await n1.next()];
  for (const given of held) n1.accept(given);
  await deps.nc.flush();
  expect(n1.unseen).toBe(0);
  for (let done = 0; done < 20; done++) {
    const given = held.shift() ?? (await n1.next());
    expect(await n1.report(given, { ok: true, result: done })).toBe("recorded");
  }
});

test("asks again when a node says nothing", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  await submit(deps, "mesh.tasks.submit.echo", "x", { [Header.msgId]: "t1" });
  expect((await n1.next()).attempt).toBe(1);
  const again = await n1.next();
  expect(again).toMatchObject({ id: "t1", attempt: 1 });
  n1.accept(again);
});

test("answers outcomes for unknown tasks and bad ones clearly", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  await submit(deps, "mesh.tasks.submit.echo", "x", { [Header.msgId]: "t1" });
  await n1.next();
  expect(await n1.reportAs("nothing", { attempt: 1, epoch: 1, ok: true, result: 1 })).toBe("stale");
  expect(await n1.reportAs("t1", { attempt: 1 })).toBe("bad_request");
  expect(await n1.reportAs("t1", { attempt: 7, epoch: 1, ok: true })).toBe("stale");
});

test("answers get, list and sync", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  const none = await ask(deps.requester, getSubject("t1"), {}, TaskRecord);
  expect(none).toMatchObject({ kind: "refused", error: { code: "not_found" } });
  for (const id of ["t1", "t2"]) {
    await submit(deps, "mesh.tasks.submit.echo", "x", { [Header.msgId]: id });
    await n1.report(await n1.next(), { ok: true, result: id });
  }
  const got = await ask(deps.requester, getSubject("t1"), {}, TaskRecord);
  expect(got).toMatchObject({ kind: "ok", value: { result: "t1" } });
  const list = await ask(deps.requester, LIST_SUBJECT, { status: "succeeded" }, TaskList);
  expect(list.kind === "ok" && list.value.tasks.map((task) => task.id)).toEqual(["t2", "t1"]);
  const first = await ask(deps.requester, syncSubject("n1"), {}, SyncAnswer);
  expect(first).toMatchObject({
    kind: "ok",
    value: { same: false, state: { nodes: [{ id: "n1" }] } },
  });
  const hash = first.kind === "ok" ? first.value.hash : "";
  const same = await ask(deps.requester, syncSubject("n1"), { hash }, SyncAnswer);
  expect(same).toMatchObject({ kind: "ok", value: { same: true } });
});

test("lists what runs, however much has changed since, from any replica", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  for (const id of ["t1", "t2"]) {
    await submit(deps, "mesh.tasks.submit.echo", "x", { [Header.msgId]: id });
    const given = await n1.next();
    if (id === "t2") await n1.report(given, { ok: true, result: 1 });
  }
  run(start(deps, "c2"));
  const info = () => deps.manager.streams.info("KV_mesh_tasks");
  const before = (await info()).state.last_seq;
  const ended = encode(await recordWhen(deps, "t2", (r) => r.status === "succeeded"));
  for (let change = 0; change < CHANGES; change++) {
    deps.nc.publish(kvSubject("mesh_tasks", `e${change % 8}`), ended);
  }
  await deps.nc.flush();
  await expect.poll(async () => (await info()).state.last_seq, WAIT).toBe(before + CHANGES);

  const list = async (filter: Partial<ListTasks>) => {
    const answer = await ask(deps.requester, LIST_SUBJECT, filter, TaskList);
    if (answer.kind !== "ok") throw new Error(`the list was answered ${JSON.stringify(answer)}`);
    return { ids: answer.value.tasks.map(({ id }) => id), complete: answer.value.complete };
  };
  // The replicas take turns.
  for (let turn = 0; turn < 8; turn++) {
    expect(await list({ status: "running" })).toEqual({ ids: ["t1"], complete: true });
  }
  expect(await list({ status: "running", node: "n2" })).toEqual({ ids: [], complete: true });
  expect(await list({ status: "failed" })).toEqual({ ids: [], complete: false });
});

/** More than a list looks at. */
const CHANGES = 20_100;
const WAIT = { timeout: 20_000 };

const someError = { code: "handler_failed", message: "no luck", retryable: true };

async function heldBy(requester: Requester, node: string): Promise<Held["tasks"]> {
  const answer = await ask(requester, heldSubject(node), { incarnation: 1 }, Held);
  return answer.kind === "ok" ? answer.value.tasks : [];
}

/** The record in answer to a request that only a leader answers. */
async function askUntil(requester: Requester, subject: string): Promise<TaskRecord> {
  for (;;) {
    const answer = await ask(requester, subject, {}, TaskRecord, { timeoutMs: 200 });
    if (answer.kind === "ok") return answer.value;
  }
}

async function deadLetter(deps: Deps, id: string) {
  const subscription = deps.nc.subscribe(`mesh.dead.${id}`);
  await deps.nc.flush();
  const stored = await deps.manager.streams.getMessage(MESH_DEAD.name, {
    last_by_subj: `mesh.dead.${id}`,
  });
  if (stored !== null) {
    subscription.unsubscribe();
    return { headers: stored.header, body: stored.string() };
  }
  for await (const message of subscription) {
    if (message.headers !== undefined) return { headers: message.headers, body: message.string() };
  }
  throw new Error("the connection closed");
}
