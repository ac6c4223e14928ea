/**
 * The node in Go, held to what the protocol asks of a node; where there is Go, and its modules. What
 * takes half a minute more is tried with `MESH_DOCS_AS_PRINTED=1`.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MeshClient } from "@swarm-mesh/client";
import { Mesh } from "@swarm-mesh/testkit";
import { headers, type NatsConnection } from "nats";
import { expect, onTestFinished, test } from "vitest";
import { GO_EXAMPLE, missing } from "../programs.ts";

const ID = "go1";
/** More than the lease's 6 s, and what the mesh needs to see that it is over. */
const FROZEN_MS = 9_000;

test("the node in Go refuses what is over, and outlives leaders, its lease and the server", async () => {
  if (missing("go") !== undefined) return;
  const mesh = await Mesh.start({ nodes: 0, replicas: 2 });
  onTestFinished(() => mesh.stop());
  await mesh.swarmctl("keys", "add", ID, "--dir", mesh.dir);
  mesh.kill("nats-server", "SIGHUP");
  // Who connects in the very milliseconds of a reload may wait 20 s for nothing.
  await sleep(250);
  const program = join(mesh.dir, "node-go");
  execFileSync("go", ["build", "-o", program, "."], { cwd: GO_EXAMPLE });
  const flags = ["-id", ID, "-seed", mesh.key(ID), "-url", mesh.url];
  const node = spawn(program, flags, { stdio: "ignore" });
  onTestFinished(() => void node.kill("SIGKILL"));
  await refusesAndIsAsked(mesh);
  if (process.env["MESH_DOCS_AS_PRINTED"] === "1") await outlivesTheRest(mesh, node);
});

async function refusesAndIsAsked(mesh: Mesh): Promise<void> {
  const client = new MeshClient(await mesh.connect("client"));
  const leader = await mesh.connect("coordinator");
  await expect(client.run("shout", "first")).resolves.toBe("FIRST");
  await refusesWhatIsOver(leader);

  // A leader dies under a task: the next one asks for it, and it is not started twice.
  await client.submit("steps", "", { id: "led" });
  await mesh.waitFor("led", ({ progress }) => progress !== null);
  const { stdout } = await mesh.swarmctl("leader", "-o", "json");
  mesh.kill((JSON.parse(stdout) as { readonly instance: string }).instance);
  await expect(client.wait("led")).resolves.toMatchObject({
    status: "succeeded",
    attempt: 1,
    result: { first: 1, last: 12 },
  });
}

async function outlivesTheRest(mesh: Mesh, node: ChildProcess): Promise<void> {
  const client = new MeshClient(await mesh.connect("client"));
  const leader = await mesh.connect("coordinator");
  // The server is gone when an outcome is due.
  await client.submit("steps", "", { id: "kept" });
  await mesh.waitFor("kept", ({ progress }) => progress !== null);
  mesh.kill("nats-server");
  await sleep(500);
  mesh.startServer();
  await expect(client.wait("kept")).resolves.toMatchObject({ status: "succeeded" });

  // Cancelled: no outcome comes, and the slot is free again.
  await client.submit("steps", "", { id: "unwanted" });
  await mesh.waitFor("unwanted", ({ progress }) => progress !== null);
  await expect(client.cancel("unwanted")).resolves.toMatchObject({ status: "cancelled" });
  await expect.poll(() => ask(leader, "ping", {})).toMatchObject({ running: 0 });

  // Frozen beyond its lease: it stops what it has, joins as a new life, and does the task from where it was.
  const { incarnation } = await ask(leader, "ping", {});
  await client.submit("steps", "", { id: "frozen" });
  await mesh.waitFor("frozen", ({ progress }) => progress !== null);
  node.kill("SIGSTOP");
  await sleep(FROZEN_MS);
  node.kill("SIGCONT");
  const record = await client.wait("frozen");
  expect(record).toMatchObject({ status: "succeeded", attempt: 2, result: { last: 12 } });
  expect((record.result as { readonly first: number }).first).toBeGreaterThan(1);
  expect((await ask(leader, "ping", {})).incarnation).toBeGreaterThan(incarnation ?? 0);

  const drained = await mesh.swarmctl("node", "drain", ID, "--wait");
  expect(drained).toMatchObject({ status: 0, stdout: `${ID} left\n` });
}

async function refusesWhatIsOver(leader: NatsConnection): Promise<void> {
  const { incarnation = 0 } = await ask(leader, "ping", {});
  const dispatch = { "Mesh-Task-Id": "x", "Mesh-Capability": "shout", "Mesh-Attempt": "1" };
  const fresh = { ...dispatch, "Mesh-Timeout": "5s", "Mesh-Incarnation": String(incarnation) };
  const refused = (code: string) => ({ error: { code } });
  await expect(ask(leader, "task", "hi")).resolves.toMatchObject(refused("bad_request"));
  const older = { ...fresh, "Mesh-Epoch": "999", "Mesh-Incarnation": String(incarnation - 1) };
  await expect(ask(leader, "task", "hi", older)).resolves.toMatchObject(refused("stale"));
  const deposed = { ...fresh, "Mesh-Epoch": "0" };
  await expect(ask(leader, "task", "hi", deposed)).resolves.toMatchObject(refused("stale"));
  // No answer of anybody's looks like an order.
  await expect(ask(leader, "cancel", { id: "x" })).resolves.toMatchObject(refused("bad_request"));
}

interface Answer {
  readonly incarnation?: number;
  readonly [field: string]: unknown;
}

async function ask(
  nc: NatsConnection,
  verb: string,
  body: unknown,
  list: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const h = headers();
  for (const [name, value] of Object.entries(list)) h.set(name, value);
  const options = { headers: h, timeout: 5_000 };
  return (await nc.request(`mesh.node.${ID}.${verb}`, JSON.stringify(body), options)).json();
}
