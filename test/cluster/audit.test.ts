/** The audit trail of a whole mesh: a leader that is killed takes no submit along, and who did what. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { SigningKey } from "@swarm-mesh/bus";
import { MeshClient } from "@swarm-mesh/client";
import type { AuditEntry } from "@swarm-mesh/protocol";
import { Mesh } from "@swarm-mesh/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";

let mesh: Mesh;
beforeAll(async () => {
  mesh = await Mesh.start({ nodes: 1, slots: 16, replicas: 2 });
});
afterAll(() => mesh.stop());

test("a leader that is killed right after the work takes no submit along", async () => {
  const nc = await mesh.connect("client");
  const client = new MeshClient(nc, { inboxPrefix: "_INBOX_client" });
  const submitted: string[] = [];
  let recovered = 0;
  for (let round = 0; round < 2; round++) {
    const leader = await leaderOf();
    // The first is written at once, and the others within a second: which the leader does not have.
    for (const burst of [1, 30]) {
      const ids = Array.from({ length: burst }, (_, n) => `r${round}-${burst}-${n}`);
      submitted.push(...ids);
      await Promise.all(ids.map((id) => client.run("echo", id, { id })));
      if (burst === 1) await untilTold(ids);
    }
    process.kill(leader, "SIGKILL");
    await client.run("echo", "again", { id: `r${round}-after` });
    submitted.push(`r${round}-after`);
    await untilTold(submitted);
    const elected = (await entriesOf()).findLast(({ action }) => action === "leader.elected");
    const tasks = elected?.details["recovered"] as { count: number }[];
    recovered += tasks.reduce((sum, { count }) => sum + count, 0);
    mesh.startService("coordinator");
  }
  // Else it was no kill in the middle of anything, and this proves nothing.
  expect(recovered).toBeGreaterThan(0);

  // Who cancels is told by the server.
  await client.submit("nobody", "", { id: "waits" });
  await client.cancel("waits");
  const seed = Buffer.from(await readFile(mesh.key("client")));
  const user = new SigningKey(seed).publicKey;
  await until(async () => {
    const cancel = (await entriesOf()).find(({ action }) => action === "task.cancelled");
    return (
      cancel?.target === "waits" && cancel.who.account === "CLIENTS" && cancel.who.user === user
    );
  });
  const verified = await mesh.swarmctl("audit", "verify");
  expect(verified).toMatchObject({ status: 0, stdout: expect.stringContaining(": whole") });
});

test("who lets a node in, and shuts it out, is in it", async () => {
  const seed = join(mesh.dir, "n9.nk");
  for (const args of [
    ["add", "n9", "--out", seed],
    ["revoke", "n9", "--reason", "stolen"],
  ]) {
    expect(await mesh.swarmctl("keys", ...args)).toMatchObject({ status: 0, stderr: "" });
  }
  const publicKey = new SigningKey(await readFile(seed)).publicKey;
  const keys = async () => (await entriesOf()).filter(({ action }) => action.startsWith("key."));
  await until(async () => (await keys()).length === 2);
  expect(await keys()).toMatchObject([
    { action: "key.enrolled", target: "n9", details: { publicKey, how: "key" } },
    { action: "key.revoked", target: "n9", details: { publicKey }, reason: "stolen" },
  ]);
});

test("nobody takes an entry out of it, and who may not write to it does not", async () => {
  const drained = await mesh.swarmctl("node", "cordon", "n1");
  expect(drained).toMatchObject({ status: 0, stderr: "" });
  const [admin, viewer, client] = await Promise.all(
    ["admin", "viewer", "client"].map((user) => mesh.connect(user)),
  );
  const refused = async (nc: typeof admin, subject: string, body = "") => {
    const asked = nc?.request(subject, body, { timeout: 1_000 }).then((reply) => reply.string());
    await expect(asked, subject).rejects.toThrow();
  };
  for (const verb of ["DELETE", "PURGE", "MSG.DELETE", "UPDATE"]) {
    await refused(admin, `$JS.API.STREAM.${verb}.MESH_AUDIT`);
  }
  for (const nc of [viewer, client]) await refused(nc, "mesh.audit.node.drain", "{}");
  const entries = await entriesOf();
  const admins = new SigningKey(Buffer.from(await readFile(mesh.key("admin")))).publicKey;
  expect(entries.find(({ action }) => action === "node.cordon")).toMatchObject({
    ...{ target: "n1", by: "swarmctl" },
    who: { user: admins, name: expect.stringContaining("(admin)") },
  });
  expect(await mesh.swarmctl("audit", "verify")).toMatchObject({ status: 0 });
});

async function entriesOf(): Promise<readonly AuditEntry[]> {
  const { stdout, stderr } = await mesh.swarmctl("audit", "export");
  expect(stderr).toBe("");
  return stdout
    .split("\n")
    .flatMap((line) => (line === "" ? [] : [JSON.parse(line) as AuditEntry]));
}

/** Waits until the trail names every one of these. */
function untilTold(ids: readonly string[]): Promise<void> {
  return until(async () => {
    const told = new Set(
      (await entriesOf()).flatMap(({ details }) =>
        [details["tasks"], details["recovered"]].flatMap((kinds) =>
          ((kinds ?? []) as { ids: string[] }[]).flatMap((kind) => kind.ids),
        ),
      ),
    );
    return ids.every((id) => told.has(id));
  });
}

async function leaderOf(): Promise<number> {
  const { stdout } = await mesh.swarmctl("leader", "-o", "json");
  return (JSON.parse(stdout) as { pid: number }).pid;
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error("not within 30 s");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
