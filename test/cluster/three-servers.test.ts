/**
 * Three servers of which one, then two are killed under load: what clients see, what is lost, and how
 * long it takes. Everything that was stored and run is judged by the checker afterwards.
 *
 * three-servers.long.test.ts has the rest: every server in turn, a rolling restart, partitions.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Bucket, openManager, Requester, watchForgetting } from "@swarm-mesh/bus";
import { MeshClient } from "@swarm-mesh/client";
import {
  encode,
  identityAddSubject,
  identityRevokeSubject,
  kvSubject,
  LEASES_BUCKET,
  MESH_EVENTS,
  NODES_BUCKET,
} from "@swarm-mesh/protocol";
import { connect, type NatsConnection, nkeyAuthenticator, nkeys } from "nats";
import { expect } from "vitest";
import { run as runCommand } from "../../packages/cli/src/main.ts";
import { FakeIo } from "../../packages/cli/test/fake-io.ts";
import { type ClusterRun, report, SERVERS, test, until } from "./cluster-run.ts";

/** What a submit is given in a mesh without a quorum, before it fails. */
const IMPATIENCE_MS = 10_000;
const WRITES = 150;
/** An election takes the servers 4 to 9 s. */
const STALL_MAX_MS = 15_000;
/** From when the quorum is back, as docs/failure.md says it, until a new task has run. */
const NORMAL_WITHIN_MS = 10_000;
/** A write that nobody answers is sent again after this. */
const WRITE_TIMEOUT_MS = 250;

test("no server is missed, and without a majority the mesh is read-only", async ({ run }) => {
  await neverReadsStale(run);
  await cutsOnEveryServer(run);
  const doctor = await run.mesh.swarmctl("doctor", "-o", "json");
  expect(doctor, doctor.stdout).toMatchObject({ status: 0, stderr: "" });
  expect(doctor.stdout).toContain("3 of 3 servers answer: nats-1, nats-2, nats-3; 1 may be lost");

  // One of three: nobody notices but by waiting.
  const leader = await run.leaderOf("MESH_TASKS");
  const ears = await earsAt(run, leader);
  const aside = await listenAside(run, leader);
  const stop = run.load();
  await sleep(2_000);
  run.kill(leader);
  await until("the others say so", () => aside.heard.includes("a server has gone"));
  await until("the streams are led again", async () => (await leaderIsLiving(run, leader)) !== "");
  await sleep(2_000);
  await hearAgain(run, ears);
  const load = await stop();
  report(`kill -9 of ${leader}, the streams' leader`, load);
  expect(load.errors).toEqual([]);
  expect(load.results).toBe(load.acknowledged);
  expect(load.submitStallMs).toBeLessThan(STALL_MAX_MS);

  // Two of three: nothing is stored, and what runs goes on.
  await run.submit("long", 18_000);
  await run.submit("short", 10_000);
  await run.mesh.waitFor("long", (record) => record.status === "running");
  await run.mesh.waitFor("short", (record) => record.status === "running");
  const second = SERVERS.find((name) => name !== leader) ?? "";
  run.kill(second);
  const hasty = new MeshClient(await run.mesh.connect("client"), { deadlineMs: IMPATIENCE_MS });
  const refusal = await run.submit("refused", 10, hasty).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: "unavailable" });
  expect(String(refusal)).toContain("read-only");
  // A program that speaks plain NATS is told at once, when the last leader has stood down.
  const plain = new Requester(hasty.nc, { inboxPrefix: "_INBOX_client" });
  const ask = () => plain.request("mesh.tasks.submit.nobody", "{}", { timeoutMs: 1_000 });
  await until("nobody leads", async () => (await ask()).kind === "no-responders");
  await run.hasEnded("short"); // And nobody can write that down.

  // Servers that have just started may let nobody in at once.
  const writer = await run.mesh.connect("admin");
  for (const name of [leader, second]) run.startServer(name);
  const backAtMs = performance.now();
  await takesAWrite(writer);
  const quorumAtMs = performance.now();
  await hasty.run("work", { steps: 1, ms: 1 }, { id: "after", timeoutMs: 60_000 });
  const normalMs = performance.now() - quorumAtMs;
  report("two of three back", {
    quorumMs: Math.round(quorumAtMs - backAtMs),
    thenATaskHasRunMs: Math.round(normalMs),
  });
  for (const id of ["long", "short", "refused"]) {
    // The refused one was submitted all the same, under its id: now it may be stored.
    if (id === "refused") await run.submit(id, 10);
    const record = await run.client.wait(id, { timeoutMs: 60_000 });
    expect(record, id).toMatchObject({ status: "succeeded", attempt: 1, migrations: [] });
  }
  expect(normalMs).toBeLessThan(NORMAL_WITHIN_MS);
  expect(await run.judge()).toEqual([]);
});

/** Waits until a plain publish to a stream is acknowledged: then the quorum is back. */
async function takesAWrite(nc: NatsConnection): Promise<void> {
  const requester = new Requester(nc, { inboxPrefix: "_INBOX_admin" });
  const subject = kvSubject(LEASES_BUCKET.name, "stale");
  const write = () => requester.stored(subject, "back", { timeoutMs: WRITE_TIMEOUT_MS });
  await until("a write is stored", async () => (await write()).kind === "stored", 60_000);
}

/** What was just written through one server is what is read through any other. */
async function neverReadsStale(run: ClusterRun): Promise<void> {
  const buckets = await Promise.all(
    run.mesh.urls.map(async (url) => {
      const nc = await run.mesh.connect("admin", [url]);
      const requester = new Requester(nc, { inboxPrefix: "_INBOX_admin" });
      return new Bucket(LEASES_BUCKET, await openManager(nc), requester);
    }),
  );
  let revision = 0;
  for (let count = 0; count < WRITES; count++) {
    const writer = buckets[count % buckets.length];
    const stored = await writer?.write("stale", String(count), revision);
    expect(stored).toMatchObject({ kind: "stored" });
    revision = stored?.kind === "stored" ? stored.revision : 0;
    const read = await Promise.all(buckets.map(async (one) => (await one.read("stale"))?.revision));
    expect(read).toEqual(buckets.map(() => revision));
  }
}

/** A node that was let in through one server is cut on whichever it is, through another one. */
async function cutsOnEveryServer({ mesh }: ClusterRun): Promise<void> {
  const user = nkeys.createUser();
  const dial = (url: string): Promise<NatsConnection> =>
    connect({
      ...{ servers: url, name: "node/everywhere", inboxPrefix: "_INBOX_everywhere" },
      ...{ reconnect: false, authenticator: nkeyAuthenticator(user.getSeed()) },
    });
  const [first = "", second = ""] = mesh.urls;
  const operator = await mesh.connect("admin", [first]);
  const added = encode({ publicKey: user.getPublicKey(), by: "test" });
  await operator.request(identityAddSubject("everywhere"), added, { timeout: 10_000 });
  const connections = await Promise.all(mesh.urls.map(dial));

  const other = await mesh.connect("admin", [second]);
  const start = performance.now();
  const closed = Promise.all(connections.map((nc) => nc.closed()));
  const subject = identityRevokeSubject("everywhere");
  const answer = await other.request(subject, encode({ by: "test" }), { timeout: 10_000 });
  await closed;
  const cutMs = performance.now() - start;
  report("revoke → cut on three servers", { ms: Math.round(cutMs) });
  expect(answer.json()).toMatchObject({ cut: connections.length });
  expect(cutMs).toBeLessThan(1_000);
  for (const url of mesh.urls) await expect(dial(url)).rejects.toThrow(/Authorization/);
}

/** Followers of events, of which one at least is served by this server. */
async function earsAt(run: ClusterRun, server: string): Promise<readonly FakeIo[]> {
  const manager = await openManager(await run.mesh.connect("admin"));
  const ears: FakeIo[] = [];
  const following = ["events", "-f", "--limit", "0", "--node", "n7", "-o", "jsonl"];
  await until("a follower is served there", async () => {
    for (let count = 0; count < 3; count++) {
      const io = new FakeIo({ env: { MESH_DIR: run.mesh.dir } });
      ears.push(io);
      void runCommand(following, io);
    }
    await sleep(500);
    for await (const { config, cluster } of manager.consumers.list(MESH_EVENTS.name)) {
      if (config.durable_name === undefined && cluster?.leader === server) return true;
    }
    return false;
  });
  return ears;
}

/** Listens at another server than `server` to what is said of it when it goes. */
async function listenAside(run: ClusterRun, server: string): Promise<{ readonly heard: string[] }> {
  const elsewhere = run.mesh.urls.filter((_, index) => SERVERS[index] !== server);
  const nc = await run.mesh.connect("viewer", elsewhere);
  const heard: string[] = [];
  void watchForgetting(nc, (reason) => heard.push(reason), new AbortController().signal);
  return { heard };
}

/** Says something until all have heard of it. */
async function hearAgain(run: ClusterRun, ears: readonly FakeIo[]): Promise<void> {
  const requester = new Requester(await run.mesh.connect("admin"), { inboxPrefix: "_INBOX_admin" });
  await until("events are heard again", async () => {
    await requester.stored("mesh.events.node.n7.x", "{}", { timeoutMs: 1_000 });
    return ears.every(({ stdout }) => stdout !== "");
  });
  for (const { stop } of ears) stop.abort();
}

async function leaderIsLiving(run: ClusterRun, dead: string): Promise<string> {
  const leaders = await Promise.all(
    ["MESH_TASKS", `KV_${NODES_BUCKET.name}`].map((stream) =>
      run.leaderOf(stream).catch(() => dead),
    ),
  );
  return leaders.includes(dead) || leaders.includes("") ? "" : "living";
}
