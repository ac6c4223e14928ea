/**
 * The long form of three-servers.test.ts: every server killed in turn, all restarted one by one, one
 * parted from the two others, and the leaders' own side of a split the smaller one. All of it under
 * load, and judged by the checker. It runs with MESH_CLUSTER=1.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Bucket, openManager, Requester } from "@swarm-mesh/bus";
import { MeshClient } from "@swarm-mesh/client";
import { LEASES_BUCKET } from "@swarm-mesh/protocol";
import { expect } from "vitest";
import { type ClusterRun, type Load, report, SERVERS, test, until } from "./cluster-run.ts";
import { Ways } from "./parted.ts";

/** What a submit is given in a mesh without a quorum, before it fails. */
const IMPATIENCE_MS = 10_000;
/** A split is kept for longer than a lease on a cluster. */
const SPLIT_MS = 15_000;
const NODES = ["n1", "n2", "n3"];

test("each server is killed in turn", async ({ run }) => {
  for (const name of SERVERS) {
    const stop = run.load();
    await sleep(1_000);
    run.kill(name);
    await until(
      "every store is led again",
      async () => {
        const leaders = await run.leaders().catch(() => [name]);
        return leaders.every((leader) => leader !== name && leader !== "");
      },
      60_000,
    );
    await sleep(2_000);
    run.startServer(name);
    await run.isWhole();
    const load = await stop();
    report(`kill -9 of ${name}`, load);
    allCame(load);
  }
  expect(await run.judge()).toEqual([]);
});

test("all servers are restarted, one by one", async ({ run }) => {
  const stop = run.load();
  for (const name of SERVERS) await run.restart(name);
  const load = await stop();
  report("restart of all servers, one by one", load);
  allCame(load);
  run.mesh.kill("n3", "SIGSTOP");
  const why = await run.mesh.swarmctl("why", "node", "n3");
  run.mesh.kill("n3", "SIGCONT");
  expect(why.stdout).toContain("within 12s or so");
  expect(await run.judge()).toEqual([]);
});

test("a server that is parted from the others refuses, and they go on", async ({ run }) => {
  const [, , away = ""] = SERVERS;
  const url = run.mesh.urls[SERVERS.indexOf(away as (typeof SERVERS)[number])] ?? "";
  const ways = await Ways.lay(run);
  // It was restarted last, so that nobody is connected to it but who is told to.
  run.kill("n3");
  await run.mesh.startNode("n3", { url });
  // It is left alone for a moment, as the one that was killed under its id.
  let probes = 0;
  await until("n3 is given tasks", async () => {
    const id = `probe${probes++}`;
    await run.submit(id, 10);
    return (await run.client.wait(id)).node === "n3";
  });
  const nc = await run.mesh.connect("client", [url]);
  const hasty = new MeshClient(nc, { deadlineMs: IMPATIENCE_MS });
  const admin = await run.mesh.connect("admin", [url]);
  const there = new Bucket(
    LEASES_BUCKET,
    await openManager(admin),
    new Requester(admin, { inboxPrefix: "_INBOX_admin" }),
  );
  expect(await there.write("said", "before", 0)).toMatchObject({ kind: "stored" });
  const held = Array.from({ length: 6 }, (_, index) => `held${index}`);
  for (const id of held) await run.submit(id, 20_000);
  const lost: string[] = [];
  for (const id of held) {
    const record = await running(run, id);
    if (record?.node === "n3") lost.push(id);
  }
  expect(lost).not.toEqual([]);

  const stop = run.load();
  ways.part(away, ["n3"], { kind: "cut" });
  const partedAtMs = performance.now();
  const refusal = await run.submit("refused", 10, hasty).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: "unavailable" });
  expect(String(refusal)).toContain("read-only");
  // Its copy may be old by now, and it says so instead of what it has.
  await expect(there.read("said")).rejects.toThrow();
  for (const id of lost) {
    const isElsewhere = async () => (await run.client.get(id))?.attempt === 2;
    await until(`${id} runs elsewhere`, isElsewhere, 60_000);
  }
  const ms = Math.round(performance.now() - partedAtMs);
  report("tasks of the node on the smaller side run elsewhere", { ms, tasks: lost.length });
  const load = await stop();
  report("one server parted from two", load);
  allCame(load);

  ways.heal(away, ["n3"]);
  await run.submit("refused", 10);
  for (const id of [...held, "refused"]) {
    const record = await run.client.wait(id, { timeoutMs: 60_000 });
    const attempt = lost.includes(id) ? 2 : 1;
    expect(record, id).toMatchObject({ status: "succeeded", attempt });
  }
  await allActive(run);
  expect(await run.judge()).toEqual([]);
  await ways.close();
});

test("the leaders' side of a split is the smaller one", async ({ run }) => {
  const ways = await Ways.lay(run);
  for (const state of [{ kind: "cut" }, { kind: "half-open" }] as const) {
    const leader = await run.leaderOf("MESH_TASKS");
    const stop = run.load();
    await sleep(1_000);
    // Wherever somebody is connected: on either side there are nodes, clients and services.
    ways.part(leader, NODES, state);
    await sleep(SPLIT_MS);
    ways.heal(leader, NODES);
    await run.isWhole();
    const load = await stop();
    report(`${leader}, the streams' leader, parted (${state.kind}) for ${SPLIT_MS} ms`, load);
    allCame(load);
    await allActive(run);
  }
  expect(await run.judge()).toEqual([]);
  await ways.close();
});

/** No error at a caller, and what was acknowledged has a result. */
function allCame(load: Load): void {
  expect(load.errors).toEqual([]);
  expect(load.results).toBe(load.acknowledged);
  expect(load.results).toBeGreaterThan(0);
}

async function running(run: ClusterRun, id: string) {
  await until(`${id} runs`, async () => (await run.client.get(id))?.status === "running");
  return run.client.get(id);
}

async function allActive(run: ClusterRun): Promise<void> {
  const states = async () => (await run.client.nodes()).map(({ state }) => state);
  await until("all nodes are back", async () => (await states()).every((one) => one === "ACTIVE"));
}
