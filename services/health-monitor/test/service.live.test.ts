import { Bucket } from "@swarm-mesh/bus";
import {
  decode,
  disconnectEventSubject,
  encode,
  kvSubject,
  LEASES_BUCKET,
  NODES_BUCKET,
  NodeEvent,
  NodeRecord,
  type NodeState,
  nodeLeaseKey,
  nodeStateSubject,
  nodeSubject,
} from "@swarm-mesh/protocol";
import { isoTime, latch } from "@swarm-mesh/runtime";
import { type Deps, type Fixtures, test } from "@swarm-mesh/testkit";
import { headers } from "nats";
import { expect } from "vitest";
import { Config } from "../src/config.ts";
import { runHealthMonitor } from "../src/service.ts";

const LIFE = 41;

test("fails a killed node after the grace, and two replicas tell it once", async ({
  deps,
  run,
}) => {
  await start(deps, run);
  await start({ ...deps, instance: "test-2" }, run);
  const states = follow(deps, "n1");
  await addNode(deps, "n1", { pong: LIFE }).then((node) => node.kill());
  const killedAt = performance.now();
  disconnectEvent(deps, "node/n1/0.1.0");
  expect(await states.next("FAILED")).toMatchObject({ incarnation: LIFE });
  expect(performance.now() - killedAt).toBeGreaterThanOrEqual(50);
  const events = await eventually(() => eventsOf(deps), 1);
  expect(events).toMatchObject([
    {
      node: "n1",
      incarnation: LIFE,
      from: "ACTIVE",
      to: "FAILED",
      subject: "mesh.events.node.n1.failed",
    },
  ]);
});

test("does nothing to a node that answers, whatever the hint says", async ({ deps, run }) => {
  await start(deps, run);
  await addNode(deps, "n1", { pong: LIFE });
  const states = follow(deps, "n2");
  await addNode(deps, "n2", { pong: LIFE }).then((node) => node.kill());
  for (const name of ["node/n1", "node/", "node/a b", "client/n1", "n1"]) {
    disconnectEvent(deps, name);
  }
  deps.nc.publish(disconnectEventSubject("NODES"), "not JSON");
  disconnectEvent(deps, "node/n2");
  await states.next("FAILED");
  expect(await stateOf(deps, "n1")).toBe("ACTIVE");
});

test("fails a frozen node when its lease is gone", async ({ deps, run }) => {
  await start(deps, run);
  const states = follow(deps, "n1");
  await addNode(deps, "n1", { ttl: "1s" });
  deps.nc.subscribe(nodeSubject("n1", "ping"), { callback: () => undefined });
  expect(await states.next("FAILED")).toMatchObject({
    reason: "lease expired and ping unanswered",
  });
});

test("degrades a node that answers without a lease, and lets it recover", async ({ deps, run }) => {
  await start(deps, run);
  const states = follow(deps, "n1");
  const node = await addNode(deps, "n1", { pong: LIFE });
  await node.dropLease();
  expect(await states.next("DEGRADED")).toMatchObject({
    reason: "answers pings, but its lease is gone",
  });
  for (let renewal = 0; renewal < 3; renewal++) await node.renew();
  expect(await states.next("ACTIVE")).toMatchObject({ incarnation: LIFE });
  const events = await eventually(() => eventsOf(deps), 2);
  expect(events.map((event) => event.subject)).toEqual([
    "mesh.events.node.n1.degraded",
    "mesh.events.node.n1.recovered",
  ]);
});

test("degrades a node whose event loop is late, and not one that leaves", async ({ deps, run }) => {
  await start(deps, run);
  const states = follow(deps, "n1");
  const leaving = await addNode(deps, "n2", { pong: LIFE, state: "LEAVING" });
  await leaving.renew(5_000);
  const node = await addNode(deps, "n1", { pong: LIFE });
  await node.renew(5_000);
  expect(await states.next("DEGRADED")).toMatchObject({ reason: "event loop 5000 ms late" });
  expect(await stateOf(deps, "n2")).toBe("LEAVING");
});

test("tells an end that nobody has told, if it is recent", async ({ deps, run }) => {
  const long = isoTime(Date.now() - 120_000);
  await addNode(deps, "n1", { state: "FAILED" });
  await addNode(deps, "n2", { state: "LEFT" });
  await addNode(deps, "n3", { state: "FAILED", updatedAt: long });
  await start(deps, run);
  const events = await eventually(() => eventsOf(deps), 2);
  expect(events.map((event) => event.subject).sort()).toEqual([
    "mesh.events.node.n1.failed",
    "mesh.events.node.n2.left",
  ]);
});

test("brakes when all nodes are cut off at once", async ({ deps, run }) => {
  const warned = latch<unknown>();
  const log = { ...deps.log, warn: (fields: object) => warned.resolve(fields) };
  await start({ ...deps, log }, run);
  for (const id of ["n1", "n2", "n3"]) {
    const node = await addNode(deps, id, { pong: LIFE });
    node.kill();
  }
  for (const id of ["n1", "n2", "n3"]) disconnectEvent(deps, `node/${id}`);
  expect(await warned.promise).toMatchObject({ suspectCount: 3, livingCount: 3 });
  for (const id of ["n1", "n2", "n3"]) expect(await stateOf(deps, id)).toBe("ACTIVE");
});

async function start(deps: Deps, run: Fixtures["run"]): Promise<void> {
  const config = Config.parse({ graceMs: 50, pingTimeoutMs: 100, recheckMs: 200 });
  const ready = latch<void>();
  const own = { ...deps, ready: () => ready.resolve() };
  run((signal) => runHealthMonitor(config, own, signal));
  await ready.promise;
}

interface NodeOptions {
  readonly state?: NodeState;
  readonly updatedAt?: string;
  /** The incarnation it answers pings with; without it nobody listens. */
  readonly pong?: number;
  readonly ttl?: string;
}

/** A node as the registry and the node itself would write it. */
async function addNode(deps: Deps, id: string, options: NodeOptions) {
  const { requester, nc, manager } = deps;
  const subject = kvSubject(LEASES_BUCKET.name, nodeLeaseKey(id));
  const renew = async (lagMs = 0): Promise<void> => {
    const h = headers();
    h.set("Nats-TTL", options.ttl ?? "60s");
    const lease = { incarnation: LIFE, running: 0, slots: 1, rttMs: 1, lagMs };
    await requester.stored(subject, encode(lease), { headers: h });
  };
  const pings = nc.subscribe(nodeSubject(id, "ping"), {
    callback: (_, message) => {
      message.respond(encode({ incarnation: options.pong, running: 0 }));
    },
  });
  if (options.pong === undefined) pings.unsubscribe();
  await renew();
  const now = isoTime(Date.now());
  const record: NodeRecord = {
    id,
    incarnation: LIFE,
    state: options.state ?? "ACTIVE",
    reason: "test",
    host: "h",
    port: 0,
    role: "worker",
    agents: [{ name: "a", capabilities: ["echo"], slots: 1 }],
    capabilities: ["echo"],
    slots: 1,
    labels: {},
    cpu: 1,
    memoryBytes: 1,
    version: "",
    costPerHour: 0,
    batches: false,
    joinedAt: now,
    updatedAt: options.updatedAt ?? now,
  };
  await new Bucket(NODES_BUCKET, manager, requester).write(id, encode(record), 0);
  return {
    renew,
    kill: (): void => pings.unsubscribe(),
    dropLease: async (): Promise<void> => {
      const h = headers();
      h.set("KV-Operation", "PURGE");
      h.set("Nats-Rollup", "sub");
      await requester.stored(subject, "", { headers: h });
    },
  };
}

function disconnectEvent(deps: Deps, name: string): void {
  deps.nc.publish(disconnectEventSubject("NODES"), encode({ client: { name }, reason: "test" }));
}

/** The node's records as the server republishes them, from now on. */
function follow(deps: Deps, id: string) {
  const messages = deps.nc.subscribe(nodeStateSubject(id))[Symbol.asyncIterator]();
  return {
    async next(state: NodeState): Promise<NodeRecord> {
      for (;;) {
        const record = decode(NodeRecord, (await messages.next()).value.data);
        if (record.ok && record.value.state === state) return record.value;
      }
    },
  };
}

async function stateOf(deps: Deps, id: string): Promise<NodeState | undefined> {
  const entry = await new Bucket(NODES_BUCKET, deps.manager, deps.requester).read(id);
  const record = decode(NodeRecord, entry?.value ?? new Uint8Array());
  return record.ok ? record.value.state : undefined;
}

/** Every durable event, in order. */
async function eventsOf(deps: Deps): Promise<(NodeEvent & { subject: string })[]> {
  const events: (NodeEvent & { subject: string })[] = [];
  const { state } = await deps.manager.streams.info("MESH_EVENTS");
  for (let seq = state.first_seq; seq > 0 && seq <= state.last_seq; seq++) {
    const message = await deps.manager.streams.getMessage("MESH_EVENTS", { seq });
    const event = decode(NodeEvent, message?.data ?? new Uint8Array());
    if (event.ok) events.push({ ...event.value, subject: message?.subject ?? "" });
  }
  return events;
}

/** Looks until there are `count`, then once more, a sweep later, for one too many. */
async function eventually<T>(look: () => Promise<T[]>, count: number): Promise<T[]> {
  while ((await look()).length < count) await new Promise((resolve) => setTimeout(resolve, 10));
  await new Promise((resolve) => setTimeout(resolve, 50));
  return look();
}
