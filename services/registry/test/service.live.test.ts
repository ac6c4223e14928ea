import { ask, Bucket } from "@swarm-mesh/bus";
import {
  check,
  decode,
  deregisterSubject,
  encode,
  kvSubject,
  LEASES_BUCKET,
  NODES_BUCKET,
  NodeEvent,
  NodeList,
  NodeRecord,
  type NodeState,
  nodeEventSubject,
  nodeLeaseKey,
  nodeSubject,
  REGISTRY_FIND_SUBJECT,
  REGISTRY_LIST_SUBJECT,
  registerSubject,
  Welcome,
} from "@swarm-mesh/protocol";
import { latch } from "@swarm-mesh/runtime";
import { type Deps, type Fixtures, test } from "@swarm-mesh/testkit";
import { headers } from "nats";
import { expect } from "vitest";
import { Config } from "../src/config.ts";
import { runRegistry } from "../src/service.ts";

const BODY = { host: "h1", agents: [{ name: "a", capabilities: ["echo"], slots: 2 }] };

test("a node joins, becomes active with its lease, is found, and leaves", async ({ deps, run }) => {
  await start(deps, run);
  const states = follow(deps, "n1");
  const welcome = await register(deps, "n1", { ...BODY, labels: { zone: "eu" } });
  expect(welcome).toMatchObject({ leader: null, peers: [], config: { leaseTtlMs: 6_000 } });
  expect(await states.next("JOINING")).toMatchObject({ incarnation: 0, slots: 2 });

  await lease(deps, "n1", welcome.incarnation);
  expect(await states.next("ACTIVE")).toMatchObject({ incarnation: welcome.incarnation });
  const wanted = { capability: "echo", labels: { zone: "eu" } };
  const found = await ask(deps.requester, REGISTRY_FIND_SUBJECT, wanted, NodeList);
  expect(found).toMatchObject({ kind: "ok", value: { nodes: [{ id: "n1", state: "ACTIVE" }] } });

  const request = { incarnation: welcome.incarnation, phase: "leaving" };
  expect(await deregister(deps, "n1", request)).toMatchObject({ value: { state: "LEAVING" } });
  const left = { ...request, phase: "left", reason: "done" };
  expect(await deregister(deps, "n1", left)).toMatchObject({ value: { state: "LEFT" } });
  const again = await deregister(deps, "n1", left);
  expect(again).toMatchObject({ value: { state: "LEFT", reason: "done" } });
  expect(await events(deps, "n1")).toEqual(["joined", "leaving", "left"]);
});

test("of many that ask for one id at once, one gets it", async ({ deps, run }) => {
  await start(deps, run);
  await start({ ...deps, instance: "test-2" }, run);
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => ask(deps.requester, registerSubject("n1"), BODY, Welcome)),
  );
  expect(answers.filter((answer) => answer.kind === "ok")).toHaveLength(1);
  for (const answer of answers) {
    if (answer.kind === "ok") continue;
    expect(answer).toMatchObject({ error: { code: "id_in_use", retryable: true } });
  }
});

test("refuses an id whose node answers, and ends a life that nobody answers for", async ({
  deps,
  run,
}) => {
  await start(deps, run);
  const first = await join(deps, "n1");
  const pings = deps.nc.subscribe(nodeSubject("n1", "ping"), {
    callback: (_, message) => {
      message.respond(encode({ ...first, running: 0 }));
    },
  });
  await deps.nc.flush();
  expect(await ask(deps.requester, registerSubject("n1"), BODY, Welcome)).toMatchObject({
    error: { code: "id_in_use", retryable: false },
  });

  pings.unsubscribe();
  await deps.nc.flush();
  const second = await register(deps, "n1", BODY);
  expect(second.incarnation).toBeGreaterThan(first.incarnation);
  expect(await events(deps, "n1")).toEqual(["joined", "failed"]);
  const late = await deregister(deps, "n1", { incarnation: first.incarnation });
  expect(late).toMatchObject({ error: { code: "stale" } });
});

test("keeps the id of a frozen node for as long as its lease runs", async ({ deps, run }) => {
  await start(deps, run, { pingTimeoutMs: 100 });
  const first = await join(deps, "n1");
  deps.nc.subscribe(nodeSubject("n1", "ping"), { callback: () => undefined });
  await deps.nc.flush();
  expect(await ask(deps.requester, registerSubject("n1"), BODY, Welcome)).toMatchObject({
    error: { code: "id_in_use", retryable: true },
  });
  await endLease(deps, "n1");
  const answer = await eventually(async () => {
    const registered = await ask(deps.requester, registerSubject("n1"), BODY, Welcome);
    return registered.kind === "ok" ? registered.value : undefined;
  });
  expect(answer.incarnation).toBeGreaterThan(first.incarnation);
});

test("tells the end of a life that nobody has told before the next one starts", async ({
  deps,
  run,
}) => {
  await start(deps, run);
  const { incarnation } = await join(deps, "n1");
  const bucket = new Bucket(NODES_BUCKET, deps.manager, deps.requester);
  // Somebody fails the node and dies before telling it.
  const entry = await bucket.read("n1");
  const record = decode(NodeRecord, entry?.value ?? new Uint8Array());
  if (!record.ok || entry === undefined) throw new Error("no record");
  await bucket.write("n1", encode({ ...record.value, state: "FAILED" }), entry.revision);
  await register(deps, "n1", BODY);
  expect(await events(deps, "n1")).toEqual(["joined", "failed"]);
  expect(await lastEvent(deps, "n1", "failed")).toMatchObject({ node: "n1", incarnation });
});

test("gives up a node that never took its lease, and archives what ended long ago", async ({
  deps,
  run,
}) => {
  await start(deps, run, { readyWithinMs: 200, archiveAfterMs: 200, sweepIntervalMs: 20 });
  const states = follow(deps, "n1");
  await register(deps, "n1", BODY);
  expect(await states.next("FAILED")).toMatchObject({ reason: "never became ready" });
  await eventually(async () => {
    const list = await ask(deps.requester, REGISTRY_LIST_SUBJECT, {}, NodeList);
    return list.kind === "ok" && list.value.nodes.length === 0 ? true : undefined;
  });
  // The archived id starts from its marker.
  expect((await register(deps, "n1", BODY)).incarnation).toBeGreaterThan(2);
});

test("names the leader with the epoch of its lease, and the peers", async ({ deps, run }) => {
  const value = { instance: "c-1", pid: 1, host: "h", epoch: 0 };
  await start(deps, run);
  await deps.requester.stored(kvSubject(LEASES_BUCKET.name, "leader.coordinator"), encode(value));
  await join(deps, "n1");
  const welcome = await eventually(async () => {
    const answer = await register(deps, `n${Math.random().toString(36).slice(2)}`, BODY);
    return answer.leader === null ? undefined : answer;
  });
  expect(welcome.leader).toEqual({ instance: "c-1", epoch: 1 });
  expect(welcome.peers).toContain("n1");
});

test.for([
  [registerSubject("n1"), {}, /^host: /],
  [registerSubject("n1"), { ...BODY, agents: [{ name: "a", slots: 1 }] }, /agents.0.capabilities/],
  [registerSubject("n%1"), BODY, /a node id must be/],
  [deregisterSubject("n1"), { incarnation: 0 }, /^incarnation: /],
  [REGISTRY_FIND_SUBJECT, { capability: "a b" }, /a capability must be/],
] as const)("refuses %s with %o", async ([subject, body, problem], { deps, run }) => {
  await start(deps, run);
  const answer = await ask(deps.requester, subject, body, Welcome);
  expect(answer).toMatchObject({ kind: "refused", error: { code: "bad_request" } });
  expect(answer.kind === "refused" && answer.error.message).toMatch(problem);
});

test("ignores records and leases that cannot be read", async ({ deps, run }) => {
  await deps.requester.stored(kvSubject(NODES_BUCKET.name, "n1"), "not JSON");
  await deps.requester.stored(kvSubject(LEASES_BUCKET.name, nodeLeaseKey("n1")), "{}");
  await start(deps, run);
  expect(await ask(deps.requester, REGISTRY_LIST_SUBJECT, {}, NodeList)).toEqual({
    kind: "ok",
    value: { nodes: [] },
  });
  expect((await register(deps, "n1", BODY)).incarnation).toBe(2);
});

async function start(deps: Deps, run: Fixtures["run"], more: object = {}): Promise<void> {
  const config = check(Config, more);
  if (!config.ok) throw new Error(config.problem);
  const ready = latch<void>();
  run((signal) => runRegistry(config.value, { ...deps, ready: () => ready.resolve() }, signal));
  await ready.promise;
}

async function register(deps: Deps, id: string, body: object): Promise<Welcome> {
  const answer = await ask(deps.requester, registerSubject(id), body, Welcome);
  if (answer.kind !== "ok") throw new Error(JSON.stringify(answer));
  return answer.value;
}

function deregister(deps: Deps, id: string, body: object) {
  return ask(deps.requester, deregisterSubject(id), body, NodeRecord);
}

async function join(deps: Deps, id: string): Promise<Welcome> {
  const states = follow(deps, id);
  const welcome = await register(deps, id, BODY);
  await lease(deps, id, welcome.incarnation);
  await states.next("ACTIVE");
  return welcome;
}

async function lease(deps: Deps, id: string, incarnation: number): Promise<void> {
  const h = headers();
  h.set("Nats-TTL", "60s");
  const value = encode({ incarnation, running: 0, slots: 2, rttMs: 1, lagMs: 0 });
  const subject = kvSubject(LEASES_BUCKET.name, nodeLeaseKey(id));
  await deps.requester.stored(subject, value, { headers: h });
}

async function endLease(deps: Deps, id: string): Promise<void> {
  const h = headers();
  h.set("KV-Operation", "PURGE");
  h.set("Nats-Rollup", "sub");
  const subject = kvSubject(LEASES_BUCKET.name, nodeLeaseKey(id));
  await deps.requester.stored(subject, "", { headers: h });
}

/** The node's records as the server republishes them, from now on. */
function follow(deps: Deps, id: string) {
  const subscription = deps.nc.subscribe(`mesh.nodes.state.${id}`);
  const messages = subscription[Symbol.asyncIterator]();
  return {
    async next(state: NodeState): Promise<NodeRecord> {
      for (;;) {
        const record = decode(NodeRecord, (await messages.next()).value.data);
        if (record.ok && record.value.state === state) return record.value;
      }
    },
  };
}

/** The kinds of the node's durable events, in order. */
async function events(deps: Deps, id: string): Promise<string[]> {
  const kinds: string[] = [];
  const { state } = await deps.manager.streams.info("MESH_EVENTS");
  for (let seq = state.first_seq; seq <= state.last_seq; seq++) {
    const message = await deps.manager.streams.getMessage("MESH_EVENTS", { seq });
    if (message?.subject.startsWith(nodeEventSubject(id, "*").slice(0, -1))) {
      kinds.push(message.subject.split(".").at(-1) ?? "");
    }
  }
  return kinds;
}

async function lastEvent(deps: Deps, id: string, kind: "failed"): Promise<NodeEvent | undefined> {
  const subject = nodeEventSubject(id, kind);
  const message = await deps.manager.streams.getMessage("MESH_EVENTS", { last_by_subj: subject });
  const event = decode(NodeEvent, message?.data ?? new Uint8Array());
  return event.ok ? event.value : undefined;
}

async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const seen = await look();
    if (seen !== undefined) return seen;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
