/** What clients, nodes and handlers may send: no task may harm another, and none may end a term. */
import { setTimeout as sleep } from "node:timers/promises";
import { createLogger } from "@swarm-mesh/process";
import {
  cancelSubject,
  delayedSubject,
  encode,
  Header,
  moveSubject,
  nodeSubject,
  progressSubject,
  retrySubject,
  TaskRecord,
} from "@swarm-mesh/protocol";
import { type Deps, test } from "@swarm-mesh/testkit";
import { headers, type MsgHdrs } from "nats";
import { expect } from "vitest";
import { Config } from "../src/config.ts";
import { coordinator } from "../src/service.ts";
import { type Given, PlainNode, recordWhen, submit } from "./plain-node.ts";

const config = Config.parse({ leaderLeaseTtlMs: 1000, sweepIntervalMs: 100, acceptTimeoutMs: 300 });
const log = createLogger({
  service: "coordinator",
  instance: "test",
  level: process.env["LOG"] ?? "silent",
});

const start =
  (deps: Deps, overrides: Partial<Config> = {}) =>
  (signal: AbortSignal) =>
    coordinator.run({ ...config, ...overrides }, { ...deps, log, instance: "c1" }, signal);

test("rejects a submit with headers nobody can read, and goes on", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  const before = await runOne(deps, n1);
  const bad = await deps.requester.stored("mesh.tasks.submit.echo", "x", { headers: malformed() });
  const stray = await deps.requester.stored("mesh.tasks.submit.a.b.c", "x", {
    headers: malformed(),
  });
  for (const stored of [bad, stray]) {
    const id = `s${stored.kind === "stored" ? stored.revision : 0}`;
    expect((await recordWhen(deps, id, () => true)).status).toBe("rejected");
  }
  expect((await runOne(deps, n1)).epoch).toBe(before.epoch);
});

test("a cancelled task stays cancelled, whatever its node says after that", async ({
  deps,
  run,
}) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  deps.nc.subscribe(nodeSubject("n1", "cancel"), { callback: () => undefined });
  await submit(deps, "mesh.tasks.submit.echo", "x", { [Header.msgId]: "t1" });
  const given = await n1.next();
  const cancelled = await deps.requester.request(cancelSubject("t1"), "");
  expect(cancelled.kind).toBe("message");
  deps.nc.publish(progressSubject("n1", "t1"), encode({ attempt: 1, progress: 0.5 }));
  given.message.respond(
    encode({ error: { code: "busy", message: "no free slot", retryable: true } }),
  );
  const changes: TaskRecord[] = [];
  deps.nc.subscribe("mesh.tasks.state.t1", {
    callback: (_, message) => void changes.push(TaskRecord.parse(message.json())),
  });
  await sleep(600);
  expect(changes).toEqual([]);
  expect((await recordWhen(deps, "t1", () => true)).status).toBe("cancelled");
});

test("a result that cannot be written fails its task and no other", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  for (const result of [tooLongWhenWritten(), tooDeep()]) {
    await submit(deps, "mesh.tasks.submit.echo", "x");
    const given = await n1.next();
    const body = `{"attempt":1,"epoch":${given.epoch},"ok":true,"result":${result}}`;
    const answer = await deps.requester.request(`mesh.tasks.outcome.n1.${given.id}`, body);
    expect(answer.kind === "message" && answer.message.json()).toEqual({ answer: "recorded" });
    const record = await recordWhen(deps, given.id, (one) => one.status === "failed");
    expect(record).toMatchObject({ error: { code: "payload_too_large" }, result: null });
    expect(record.finishedAt).not.toBeNull();
  }
});

test("progress that cannot be written is dropped", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  await submit(deps, "mesh.tasks.submit.echo", "x");
  const given = await n1.next();
  n1.accept(given);
  for (const progress of [tooLongWhenWritten(), tooDeep(), tooDeep(16_000)]) {
    deps.nc.publish(progressSubject("n1", given.id), `{"attempt":1,"progress":${progress}}`);
    await sleep(200);
  }
  expect(await n1.report(given, { ok: true, result: 1 })).toBe("recorded");
  expect((await recordWhen(deps, given.id, () => true)).epoch).toBe(given.epoch);
});

test("a task too large to be sent on is set aside, and the leader leads on", async ({
  deps,
  run,
}) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1", { slots: 1 });
  const before = await runOne(deps, n1);
  // This server takes 1 MiB in all, and a dispatch has more headers than a submit.
  await submit(deps, "mesh.tasks.submit.echo", new Uint8Array(1024 * 1024 - 64));
  await submit(deps, "mesh.tasks.submit.echo", "small");
  expect((await n1.next()).epoch).toBe(before.epoch);
});

test("answers many strays at once without ending the term", async ({ deps, run }) => {
  const ids: string[] = [];
  for (let count = 0; count < 300; count++) {
    ids.push(`s${await submit(deps, `mesh.tasks.submit.a.b.c${count}`, "x")}`);
  }
  // Looks again long before the look before it has ended.
  run(start(deps, { sweepIntervalMs: 2 }));
  const n1 = await PlainNode.join(deps, "n1");
  const before = await runOne(deps, n1);
  for (const id of ids) {
    expect((await recordWhen(deps, id, () => true)).epoch).toBe(before.epoch);
  }
});

test.for([
  { "Nats-Rollup": "sub" },
  { "Nats-Rollup": "all" },
  { "Nats-Schedule": "@at 2026-01-01T00:00:00Z", "Nats-Schedule-Target": retrySubject("echo") },
])(
  "a submit that asks the server for %j is refused, and takes nobody's task away",
  async (h, { deps, run }) => {
    for (const id of ["a", "b"]) {
      await submit(deps, "mesh.tasks.submit.echo", "good", { [Header.msgId]: id });
    }
    await expect(submit(deps, "mesh.tasks.submit.echo", "evil", h)).rejects.toThrow("refused");
    run(start(deps));
    const n1 = await PlainNode.join(deps, "n1");
    expect([(await n1.next()).id, (await n1.next()).id].sort()).toEqual(["a", "b"]);
  },
);

test("a submit that has the id of a retry does not keep the retry away", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  await submit(deps, "mesh.tasks.submit.echo", "x", { [Header.msgId]: "t1" });
  const given = await n1.next();
  n1.accept(given);
  await submit(deps, "mesh.tasks.submit.nobody", "x", { [Header.msgId]: `t1.2.${given.epoch}` });
  await n1.setState("FAILED");
  // A node of another kind has its task only when the leader knows that n1 is out: n1 would have t1 back.
  const n0 = await PlainNode.join(deps, "n0", { capabilities: ["other"] });
  await submit(deps, "mesh.tasks.submit.other", "x");
  await n0.next();
  const move = encode({ from: "n1", attempt: 1, reason: "node_failed" });
  await deps.requester.request(moveSubject("t1"), move);
  const n2 = await PlainNode.join(deps, "n2");
  expect(await n2.next()).toMatchObject({ id: "t1", attempt: 2 });
});

test("a retry whose record has expired does not count from one again", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1");
  const h = { [Header.taskId]: "old", [Header.attempt]: "4" };
  await submit(deps, retrySubject("echo"), "x", h);
  expect(await n1.next()).toMatchObject({ id: "old", attempt: 4 });
});

test("a task that asks to expire is refused at the submit", async ({ deps }) => {
  await expect(submit(deps, "mesh.tasks.submit.echo", "x", { "Nats-TTL": "1s" })).rejects.toThrow(
    "TTL",
  );
  // A retry still waits in the server.
  await submit(deps, delayedSubject("t1"), "x", {
    "Nats-Schedule": "@at 2126-01-01T00:00:00Z",
    "Nats-Schedule-Target": retrySubject("echo"),
  });
});

/** Submits a task and brings it to its end. */
async function runOne(deps: Deps, node: PlainNode): Promise<Given> {
  const seq = await submit(deps, "mesh.tasks.submit.echo", "one");
  const given = await node.next();
  expect(given.id).toBe(`s${seq}`);
  expect(await node.report(given, { ok: true, result: null })).toBe("recorded");
  return given;
}

/** Headers as a client in another language may send them: no name may hold a space. */
function malformed(): MsgHdrs {
  const h = headers();
  (h as unknown as { headers: Map<string, string[]> }).headers.set("bad name", ["x"]);
  return h;
}

/** JSON of 500 KB that is 2 MB when it is written again. */
function tooLongWhenWritten(): string {
  return `[${Array(100_000).fill("1e20").join()}]`;
}

/** JSON that can be read and not written. */
function tooDeep(levels = 100_000): string {
  return "[".repeat(levels) + "]".repeat(levels);
}
