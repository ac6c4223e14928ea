import { createLogger } from "@swarm-mesh/process";
import {
  disconnectEventSubject,
  type ErrorCode,
  encode,
  Header,
  wireError,
} from "@swarm-mesh/protocol";
import { type Deps, test } from "@swarm-mesh/testkit";
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

const start = (deps: Deps) => (signal: AbortSignal) =>
  coordinator.run(config, { ...deps, log, instance: "c1" }, signal);

const ids = (count: number): string[] => Array.from({ length: count }, (_, i) => `t${i}`);

async function submitAll(deps: Deps, tasks: readonly string[]): Promise<void> {
  await Promise.all(
    tasks.map((id) => submit(deps, "mesh.tasks.submit.echo", id, { [Header.msgId]: id })),
  );
}

async function take(node: PlainNode, count: number): Promise<Given[]> {
  const given: Given[] = [];
  while (given.length < count) given.push(await node.next());
  return given;
}

const refusal = (code: ErrorCode) => ({ ok: false, error: wireError(code, "no", true) });

test("gives many tasks in few messages, and settles their outcomes in one request", async ({
  deps,
  run,
}) => {
  await PlainNode.join(deps, "n0", { capabilities: ["other"] });
  run(start(deps));
  await submitAll(deps, ids(40));
  const n1 = await PlainNode.join(deps, "n1", { slots: 40, batches: true });
  const given = await take(n1, 40);
  expect(given.map(({ id }) => id).sort()).toEqual(ids(40).sort());
  // Each its own payload, and nobody waits for an answer.
  expect(given.every(({ id, payload }) => id === payload)).toBe(true);
  expect(given.every(({ message }) => message.reply === undefined || message.reply === "")).toBe(
    true,
  );
  expect(Math.max(...n1.batches)).toBeGreaterThan(1);
  const outcomes = given.map(({ id: taskId, attempt, epoch }) => ({
    ...{ taskId, attempt, epoch, ok: true, result: taskId },
  }));
  const unknown = { taskId: "nobody", attempt: 1, epoch: 1, ok: true, result: 1 };
  expect(await n1.reportAll([...outcomes, unknown])).toEqual({
    answers: [...given.map(() => "recorded"), "stale"],
  });
  for (const id of ids(40)) {
    const record = await recordWhen(deps, id, ({ status }) => status === "succeeded");
    expect(record).toMatchObject({ result: id, attempt: 1 });
  }
});

test("asks after a task that was sent into the void, which then runs as the same try", async ({
  deps,
  run,
}) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1", { batches: true });
  n1.vanish();
  await submitAll(deps, ["t0"]);
  await recordWhen(deps, "t0", ({ status }) => status === "running");
  n1.listen();
  const given = await n1.next();
  expect(given).toMatchObject({ id: "t0", attempt: 1 });
  // This time it wants to know.
  expect(given.message.reply).toMatch(/^_INBOX/);
  n1.accept(given);
  expect(await n1.report(given, { ok: true, result: 1 })).toBe("recorded");
});

test("leaves a task to its node while nobody is heard there, and asks until somebody is", async ({
  deps,
  run,
}) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1", { batches: true });
  await submitAll(deps, ["t0"]);
  const given = await n1.next();
  const n2 = await PlainNode.join(deps, "n2", { batches: true });
  n1.vanish();
  const closed = { client: { name: "node/n1" }, reason: "Client Closed" };
  deps.nc.publish(disconnectEventSubject("NODES"), encode(closed));
  // Silent, and so asked as often as the other: the second question comes after those about t0.
  await submitAll(deps, ["t1"]);
  for (const asked of await take(n2, 3)) expect(asked).toMatchObject({ id: "t1", attempt: 1 });
  n1.listen();
  expect(await n1.next()).toMatchObject({ id: "t0", attempt: 1 });
  expect(await n1.report(given, { ok: true, result: 1 })).toBe("recorded");
  const record = await recordWhen(deps, "t0", ({ status }) => status === "succeeded");
  expect(record).toMatchObject({ attempt: 1, migrations: [] });
});

test.for(["busy", "unknown_capability"] as const)(
  "a task turned down with the outcome %s goes elsewhere and has used no try",
  async (code, { deps, run }) => {
    run(start(deps));
    const n1 = await PlainNode.join(deps, "n1", { batches: true });
    await submitAll(deps, ["t0"]);
    const first = await n1.next();
    const n2 = await PlainNode.join(deps, "n2", { batches: true });
    expect(await n1.report(first, refusal(code))).toBe("recorded");
    const second = await n2.next();
    expect(second).toMatchObject({ id: "t0", attempt: 2 });
    expect(await n2.report(second, { ok: true, result: 2 })).toBe("recorded");
    const record = await recordWhen(deps, "t0", ({ status }) => status === "succeeded");
    expect(record).toMatchObject({ tries: [], migrations: [{ from: "n1", reason: "refused" }] });
  },
);

test("sends a large task by itself", async ({ deps, run }) => {
  run(start(deps));
  const n1 = await PlainNode.join(deps, "n1", { batches: true });
  const large = "x".repeat(300_000);
  await submit(deps, "mesh.tasks.submit.echo", large, { [Header.msgId]: "large" });
  const given = await n1.next();
  expect(given.payload).toBe(large);
  expect(n1.batches).toEqual([]);
});
