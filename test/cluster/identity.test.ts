/** Nodes that are let in and shut out while a mesh works: nothing is lost, and a revoked key is out at once. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import {
  encode,
  identityAddSubject,
  identityRevokeSubject,
  submitSubject,
} from "@swarm-mesh/protocol";
import { Mesh } from "@swarm-mesh/testkit";
import { connect, headers, type NatsConnection, nkeyAuthenticator, nkeys } from "nats";
import { afterAll, beforeAll, expect, test } from "vitest";

const SWARMCTL = join(import.meta.dirname, "..", "..", "packages", "cli", "bin", "swarmctl.js");
const TASKS = 1_000;
const REVOCATIONS = 20;

let mesh: Mesh;
let admin: NatsConnection;

beforeAll(async () => {
  mesh = await Mesh.start({ nodes: 2, replicas: 2, handles: ["echo=cat"] });
  admin = await mesh.connect("admin");
}, 90_000);
afterAll(() => mesh.stop(), 60_000);

test("a node joins by token and is revoked while a thousand tasks run: none is lost", async () => {
  const client = await mesh.connect("client");
  const ids = Array.from({ length: TASKS }, (_, index) => `t${index}`);
  for (const id of ids)
    await client.request(submitSubject("echo"), id, { headers: idOf(id), timeout: 10_000 });

  const { stdout: token } = await mesh.swarmctl("node", "token", "--ttl", "5m", "--id", "n7");
  const n7 = spawn(
    process.execPath,
    [SWARMCTL, "node", "run", "--id", "n7", "--token", token.trim(), "--handle", "echo=cat"],
    { env: { ...process.env, MESH_DIR: mesh.dir }, stdio: ["ignore", "pipe", "pipe"] },
  );
  const ended = once(n7, "exit");
  let said = "";
  n7.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  n7.stdout.resume();
  await expect
    .poll(async () => (await mesh.swarmctl("node", "list")).stdout, { timeout: 30_000 })
    .toMatch(/n7 +ACTIVE/);

  // One of the two who answer for it is killed: the other one does.
  mesh.kill("authenticator-1");
  expect(await mesh.swarmctl("keys", "revoke", "n7", "--reason", "stolen")).toMatchObject({
    status: 0,
  });
  expect(await ended).toEqual([6, null]);
  expect(said).toMatch(/n7 was revoked by .*: stolen/);

  const left = new Set(ids);
  const unfinished = async (): Promise<number> => {
    for (const id of left) {
      if ((await mesh.record(id))?.status !== "succeeded") break;
      left.delete(id);
    }
    return left.size;
  };
  await expect.poll(unfinished, { timeout: 120_000 }).toBe(0);
}, 240_000);

test("a revoked key is refused within a second, and no other node is", async () => {
  const took: number[] = [];
  for (let index = 0; index < REVOCATIONS; index++) {
    const user = nkeys.createUser();
    const dial = (): Promise<NatsConnection> =>
      connect({
        servers: mesh.url,
        name: `node/r${index}`,
        inboxPrefix: `_INBOX_r${index}`,
        reconnect: false,
        authenticator: nkeyAuthenticator(user.getSeed()),
      });
    const added = { publicKey: user.getPublicKey(), by: "test" };
    await admin.request(identityAddSubject(`r${index}`), encode(added), { timeout: 10_000 });
    const nc = await dial();
    const start = performance.now();
    void admin.request(identityRevokeSubject(`r${index}`), encode({ by: "test" }));
    await nc.closed();
    await expect(dial()).rejects.toThrow(/Authorization/);
    took.push(performance.now() - start);
  }
  const worst = Math.max(...took);
  process.stdout.write(`revoke → refused: worst of ${REVOCATIONS} ${Math.round(worst)} ms\n`);
  expect(worst).toBeLessThan(5_000);
  const { stdout } = await mesh.swarmctl("node", "list");
  expect(stdout).toMatch(/n1 +ACTIVE[\s\S]*n2 +ACTIVE/);
}, 120_000);

test.each([
  ["no token", "letmein", /no join token/],
  ["a token of another mesh", `mesh_ABCDEFGH_${"s".repeat(43)}`, /another mesh/],
])(
  "%s ends a node with status 6 and a line that says so",
  async (_, token, message) => {
    const args = ["node", "run", "--id", "n8", "--token", token, "--handle", "echo=cat"];
    const { status, stderr } = await mesh.swarmctl(...args);
    expect(status).toBe(6);
    expect(stderr).toMatch(message);
  },
  60_000,
);

function idOf(id: string) {
  const h = headers();
  h.set("Nats-Msg-Id", id);
  return h;
}
