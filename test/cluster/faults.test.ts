/**
 * Machines that die: real processes, real `kill -9`, and what must hold afterwards.
 *
 * MESH_TRIALS sets how often the kills with a time limit are tried; the figures in docs/failure.md
 * are of 50.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Bucket, openManager, Requester } from "@swarm-mesh/bus";
import { decode, LEASES_BUCKET, LeaderLease, type TaskRecord } from "@swarm-mesh/protocol";
import { describe, expect, onTestFinished } from "vitest";
import { FaultyLink } from "../faults/src/faulty-link.ts";
import { type History, quantile, test } from "./history.ts";

const TRIALS = Number(process.env["MESH_TRIALS"] ?? 3);
const LEASE_TTL_MS = 6_000;

describe("a node is killed", () => {
  test("each of its tasks goes on elsewhere from its checkpoint", async ({ history }) => {
    const figures: number[] = [];
    for (let trial = 0; trial < TRIALS; trial++) {
      const victim = `n${(trial % 3) + 1}`;
      const ids: string[] = [];
      for (let count = 0; count < 4; count++) {
        const more = { "Mesh-Prefer": victim };
        ids.push(await history.submit("mesh.tasks.submit.work", { steps: 20, ms: 50 }, more));
      }
      await history.until("all have saved something", () =>
        ids.every((id) => began(history, id, 1)),
      );
      await sleep(200); // Some checkpoints in: how many is not the point.
      const had = ids.filter((id) => history.records.get(id)?.node === victim);
      expect(had).toHaveLength(4);
      history.mesh.kill(victim);
      const killedAt = Date.now();
      await history.until("all run elsewhere", () => had.every((id) => began(history, id, 2)));
      for (const id of had) {
        const start = history.traces().find((line) => line.id === id && line.attempt === 2);
        expect(start?.from, "goes on from its checkpoint").toBeGreaterThan(0);
        figures.push((start?.at ?? Number.NaN) - killedAt);
      }
      await history.settle();
      await history.mesh.startNode(victim);
      await history.until("the node is back", () => history.nodes.get(victim)?.state === "ACTIVE");
    }
    const [p50, p99] = [quantile(figures, 0.5), quantile(figures, 0.99)];
    report("node killed → its tasks run elsewhere", figures);
    expect(p50).toBeLessThanOrEqual(300);
    expect(p99).toBeLessThanOrEqual(1_000);
  });
});

describe("a node's link breaks for less than the grace", () => {
  // A node is back in time within the default, 200 ms, on a machine that does nothing else.
  test.override({ options: { nodes: 2, env: { MESH_GRACE_MS: "3000" } } });

  test("it goes on with what it has just been given, and nothing runs twice", async ({
    history,
  }) => {
    const { hostname: host, port } = new URL(history.mesh.url);
    const link = await FaultyLink.open({ host, port: Number(port) });
    onTestFinished(() => link.close());
    await history.mesh.startNode("n3", { url: link.url });
    await history.until("n3 is there", () => history.nodes.get("n3")?.state === "ACTIVE");
    const incarnation = history.nodes.get("n3")?.incarnation;
    const ids: string[] = [];
    for (let count = 0; count < 4; count++) {
      const more = { "Mesh-Prefer": "n3" };
      ids.push(await history.submit("mesh.tasks.submit.work", { steps: 30, ms: 50 }, more));
    }
    await history.until("all run", () => ids.every((id) => began(history, id, 1)));
    link.set({ kind: "cut" });
    await history.until("n3 is cut off", () => link.connections === 0);
    await sleep(100);
    link.set({ kind: "clear" });
    await history.until("n3 is back", () => link.connections > 0);
    await history.settle();
    for (const id of ids) {
      const unmoved = { status: "succeeded", node: "n3", attempt: 1, migrations: [] };
      expect(history.records.get(id)).toMatchObject(unmoved);
    }
    expect(history.traces().filter(({ attempt }) => attempt > 1)).toEqual([]);
    expect(history.nodes.get("n3")).toMatchObject({ state: "ACTIVE", incarnation });
  });
});

describe("a node is frozen", () => {
  test("its tasks move within the lease, and what it says on waking is refused", async ({
    history,
  }) => {
    const ids: string[] = [];
    for (let count = 0; count < 3; count++) {
      const more = { "Mesh-Prefer": "n1" };
      ids.push(await history.submit("mesh.tasks.submit.work", { steps: 150, ms: 100 }, more));
    }
    await history.until("all run", () => ids.every((id) => began(history, id, 1)));
    const incarnation = history.nodes.get("n1")?.incarnation ?? 0;
    history.mesh.kill("n1", "SIGSTOP");
    const ms = await history.until("all run elsewhere", () =>
      ids.every((id) => began(history, id, 2)),
    );
    report("node frozen → its tasks run elsewhere", [ms]);
    expect(ms).toBeLessThanOrEqual(LEASE_TTL_MS + 1_000);
    const moved = ids.map((id) => history.records.get(id));
    history.mesh.kill("n1", "SIGCONT");
    await history.until("it has joined as a new life", () => {
      const node = history.nodes.get("n1");
      return node?.state === "ACTIVE" && node.incarnation > incarnation;
    });
    // It stopped by itself: none of its first tries came to an end.
    await history.settle();
    const ended = history.traces().filter((line) => line.what === "end");
    expect(ended.map((line) => line.attempt)).toEqual([2, 2, 2]);
    for (const record of moved) {
      expect(history.records.get(record?.id ?? "")).toMatchObject({
        attempt: 2,
        node: record?.node,
      });
    }
  });
});

describe("the leading coordinator is killed under load", () => {
  test("a follower routes within a second, and nothing is lost or run twice", async ({
    history,
  }) => {
    const stopLoad = history.load({ steps: 2, ms: 20 }, 5);
    const figures: number[] = [];
    for (let trial = 0; trial < TRIALS; trial++) {
      await history.until("tasks flow", () => began(history, history.submitted.at(-5) ?? "", 1));
      const leader = await leaderOf(history);
      process.kill(leader.pid, "SIGKILL");
      history.mesh.startService("coordinator");
      figures.push(
        await history.until("another routes", () => newestEpoch(history) > leader.epoch),
      );
      await sleep(500); // Some load under the new leader.
    }
    await stopLoad();
    await history.settle();
    report("leader killed → the next one routes", figures);
    expect(quantile(figures, 0.99)).toBeLessThanOrEqual(1_000);
    expect([...history.records.values()].filter((record) => record.attempt > 1)).toEqual([]);
  });
});

test("every replica of each service is killed in turn under load: nothing is lost", async ({
  history,
}) => {
  const stopLoad = history.load({ steps: 2, ms: 20 }, 10);
  for (const kind of ["registry", "health-monitor", "migrator", "coordinator"]) {
    const before = history.traces().length;
    await history.until(`tasks flow before every ${kind} dies`, () => {
      return history.traces().length > before + 100;
    });
    for (const pid of history.mesh.pids(kind)) process.kill(pid, "SIGKILL");
    await sleep(500);
    history.mesh.startService(kind);
    await sleep(500);
  }
  await stopLoad();
  await history.settle();
  const ends = [...history.records.values()].map(({ status }) => status);
  expect(ends.every((status) => status === "succeeded")).toBe(true);
});

test("all services are killed at once and come back: nothing is lost", async ({ history }) => {
  const stopLoad = history.load({ steps: 2, ms: 20 }, 10);
  await history.until("tasks flow", () => history.traces().length > 100);
  const kinds = ["registry", "coordinator", "health-monitor", "migrator"];
  for (const kind of kinds) {
    for (const pid of history.mesh.pids(kind)) process.kill(pid, "SIGKILL");
  }
  await sleep(1_000);
  for (const kind of kinds) history.mesh.startService(kind);
  const before = history.records.size;
  const ms = await history.until("tasks flow again", () => history.records.size > before + 10);
  report("all services killed, back after 1 s → tasks flow", [ms]);
  await stopLoad();
  await history.settle();
});

test("nats-server is killed and comes back: nothing is lost", async ({ history }) => {
  const stopLoad = history.load({ steps: 2, ms: 20 }, 10);
  await history.until("tasks flow", () => history.traces().length > 100);
  history.mesh.kill("nats-server");
  await sleep(500);
  history.mesh.startServer();
  const before = history.traces().length;
  const ms = await history.until("tasks flow again", () => history.traces().length > before + 20);
  report("nats-server killed, back after 0.5 s → tasks flow", [ms]);
  await stopLoad();
  await history.settle();
});

test("a node is drained under load: it leaves, nothing is lost or run twice", async ({
  history,
}) => {
  const stopLoad = history.load({ steps: 3, ms: 50 }, 10);
  await history.until("tasks flow", () => history.traces().length > 100);
  const long = await history.submit(
    "mesh.tasks.submit.work",
    { steps: 50, ms: 100 },
    { "Mesh-Prefer": "n1" },
  );
  await history.until("the long task runs", () => began(history, long, 1));
  const drained = await history.mesh.swarmctl("node", "drain", "n1", "--deadline", "1s", "--wait");
  expect(drained).toMatchObject({ status: 0, stderr: "" });
  expect(history.nodes.get("n1")?.state).toBe("LEFT");
  await stopLoad();
  await history.settle();
  const done = history.records.get(long);
  expect(done?.status).toBe("succeeded");
  if (done !== undefined && history.traces().some((l) => l.id === long && l.attempt > 1)) {
    expect(done.migrations[0]).toMatchObject({ from: "n1", reason: "handed_back" });
    expect(history.traces().find((l) => l.id === long && l.attempt > 1)?.from).toBeGreaterThan(0);
  }
  const ends = history.traces().filter((line) => line.what === "end");
  expect(new Set(ends.map((line) => line.id)).size).toBe(ends.length);
});

function began(history: History, id: string, attempt: number): boolean {
  return history
    .traces()
    .some((line) => line.id === id && line.attempt === attempt && line.what === "start");
}

function newestEpoch(history: History): number {
  let newest = 0;
  for (const record of history.records.values()) newest = Math.max(newest, startedUnder(record));
  return newest;
}

function startedUnder(record: TaskRecord): number {
  return record.status === "running" ? record.epoch : 0;
}

async function leaderOf(history: History): Promise<{ pid: number; epoch: number }> {
  const nc = await history.mesh.connect("admin");
  const requester = new Requester(nc, { inboxPrefix: "_INBOX_admin" });
  const bucket = new Bucket(LEASES_BUCKET, await openManager(nc), requester);
  for (;;) {
    const entry = await bucket.read("leader.coordinator");
    const lease = entry?.value && decode(LeaderLease, entry.value);
    if (entry !== undefined && lease?.ok) {
      await nc.close();
      return { pid: lease.value.pid, epoch: lease.value.epoch || entry.revision };
    }
    await sleep(20);
  }
}

function report(what: string, figures: readonly number[]): void {
  const [p50, p99] = [quantile(figures, 0.5), quantile(figures, 0.99)];
  process.stdout.write(
    `figure: ${what}: p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms (n=${figures.length})\n`,
  );
}
