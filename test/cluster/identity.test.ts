/** Nodes that are let in and shut out while a mesh works: nothing is lost, and a revoked key is out at once. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { type Answer, ask, Bucket, openManager, Requester } from "@swarm-mesh/bus";
import {
  encode,
  IDENTITIES_BUCKET,
  IDENTITY_TOKEN_SUBJECT,
  Identity,
  identityAddSubject,
  identityJoinSubject,
  identityRevokeSubject,
  JoinAnswer,
  LOBBY_NAME,
  type NodeRecord,
  RevokeAnswer,
  TokenAnswer,
} from "@swarm-mesh/protocol";
import { connect, type NatsConnection, nkeyAuthenticator, nkeys } from "nats";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run as swarmctl } from "../../packages/cli/src/main.ts";
import { FakeIo } from "../../packages/cli/test/fake-io.ts";
import { ClusterRun, until } from "./cluster-run.ts";

const SWARMCTL = join(import.meta.dirname, "..", "..", "packages", "cli", "bin", "swarmctl.js");
const HANDLER = join(import.meta.dirname, "handlers", "judged.js");
const CLOCK_SHIFT = join(import.meta.dirname, "..", "faults", "dist", "clock-shift.js");
const HOUR_MS = 3_600_000;
const TASKS = 1_000;
const TASK_MS = 300;
/** Some that are still running when the node is revoked, however long the command takes. */
const LONG_TASKS = 40;
const LONG_MS = 6_000;
const REVOCATIONS = 20;
const SLOTS = 16;

/** A node that is away for longer is taken for dead; 200 ms is what an idle machine needs. */
const GRACE_MS = 3_000;
/** So that no connection here is cut by the sweep: what is refused at once is refused without it. */
const SWEEP_MS = 3_600_000;

let dir: string;
let run: ClusterRun;
let admin: NatsConnection;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mesh-identity-"));
  const runs = join(dir, "runs.jsonl");
  run = await ClusterRun.start(dir, {
    ...{ servers: 1, nodes: 2, slots: SLOTS, replicas: 2 },
    env: { MESH_RUNS: runs, MESH_GRACE_MS: String(GRACE_MS), MESH_SWEEP_MS: String(SWEEP_MS) },
  });
  admin = await run.mesh.connect("admin");
}, 90_000);
afterAll(async () => {
  await run.mesh.stop();
  await rm(dir, { recursive: true, force: true });
}, 60_000);

// Its tasks have their ids for good.
test("a node joins by token, outlives a reload and is revoked while a thousand tasks run: none is lost", {
  retry: 0,
  timeout: 240_000,
}, async () => {
  const token = await command("node", "token", "--ttl", "5m", "--id", "n7");
  const ids = Array.from({ length: TASKS }, (_, index) => `t${index}`);
  await Promise.all(ids.map((id) => run.submit(id, TASK_MS)));
  const n7 = await joinByToken("n7", token.trim());
  // One of the two who answer for it is killed: the other one does.
  run.mesh.kill("authenticator-1");
  await until("n7 works", () => inHand(n7.pid).length >= SLOTS / 2);
  // Whoever joins by a token is refused first: that is the way in, and nothing to worry about.
  expect(n7.said()).toContain("the mesh lets the key in");
  expect(n7.said()).not.toContain('"level":"warn"');

  // The server takes a key that is not in its file for removed, and closes the connection.
  const incarnation = (await nodeRecord("n7"))?.incarnation;
  const held = inHand(n7.pid);
  run.mesh.kill("nats-server", "SIGHUP");
  const backMs = await until("n7 is back", () => /lost[\s\S]*connection back/.test(n7.said()));
  await until("what it had in hand is done", () =>
    inHand(n7.pid).every((id) => !held.includes(id)),
  );
  expect(held.length).toBeGreaterThan(0);
  expect(await nodeRecord("n7")).toMatchObject({ incarnation, state: "ACTIVE" });

  const long = Array.from({ length: LONG_TASKS }, (_, index) => `long${index}`);
  await Promise.all(long.map((id) => run.submit(id, LONG_MS)));
  await until("n7 has long ones", () => inHand(n7.pid).some((id) => long.includes(id)), 60_000);
  const said = await command("keys", "revoke", "n7", "--reason", "stolen");
  expect(said).toMatch(/^n7 is revoked since .*; 1 connection was cut\n$/);
  expect(await n7.ended).toEqual([6, null]);
  expect(n7.said()).toMatch(/n7 was revoked by .*: stolen; to let the node in again delete/);
  expect(n7.said()).not.toContain("JoinRefusedError");
  const lost = inHand(n7.pid);
  process.stdout.write(
    `reload → back: ${Math.round(backMs)} ms, ${held.length} tasks in hand; ${lost.length} when revoked\n`,
  );
  expect(lost.length).toBeGreaterThan(0);

  const left = new Set([...ids, ...long]);
  const unfinished = async (): Promise<number> => {
    for (const id of left) {
      if ((await run.mesh.record(id))?.status !== "succeeded") break;
      left.delete(id);
    }
    return left.size;
  };
  await expect.poll(unfinished, { timeout: 120_000 }).toBe(0);
  // Who was back in time has not lost what it had.
  for (const id of held) {
    expect(await run.mesh.record(id)).toMatchObject({ attempt: 1, node: "n7", migrations: [] });
  }
  for (const id of lost) {
    expect((await run.mesh.record(id))?.node).toMatch(/^n[12]$/);
  }
  expect(await run.judge()).toEqual([]);
});

test("a revoked key is refused within a second, and no other node is", async () => {
  const took: number[] = [];
  const rude: Promise<number>[] = [];
  const over = new AbortController();
  for (let index = 0; index < REVOCATIONS; index++) {
    const node = newcomer(`r${index}`);
    await node.add();
    const nc = await node.dial();
    const start = performance.now();
    void node.revoke();
    await nc.closed();
    await expect(node.dial()).rejects.toThrow(/Authorization/);
    took.push(performance.now() - start);
    // Those that do not take no for an answer are in nobody's way.
    if (index < 3) rude.push(keepTrying(node, over.signal));
  }
  over.abort();
  const refusals = await Promise.all(rude);
  const worst = Math.max(...took);
  process.stdout.write(
    `revoke → refused: worst of ${REVOCATIONS} ${Math.round(worst)} ms, beside ${refusals} refusals\n`,
  );
  // Tens of milliseconds on a machine that is idle; others may use it as well.
  expect(worst).toBeLessThan(5_000);
  expect(Math.min(...refusals)).toBeGreaterThan(0);
  for (const id of ["n1", "n2"]) expect(await nodeRecord(id)).toMatchObject({ state: "ACTIVE" });
}, 120_000);

test("what an authenticator revoked that died before it cut anything, another one cuts", async () => {
  const node = newcomer("w1");
  await node.add();
  const nc = await node.dial();
  const store = await run.mesh.connect("authenticator");
  const requester = new Requester(store, { inboxPrefix: "_INBOX_authenticator" });
  const bucket = new Bucket(IDENTITIES_BUCKET, await openManager(store), requester);
  const { value, revision } = (await bucket.read(node.id)) ?? { revision: 0 };
  const identity = Identity.parse(JSON.parse(textOf(value ?? new Uint8Array())));
  const revoked = { ...identity, revokedAt: new Date().toISOString(), revokedBy: "test" };
  const stored = await bucket.write(node.id, encode(revoked), revision);
  expect(stored).toMatchObject({ kind: "stored" });
  const start = performance.now();
  await nc.closed();
  process.stdout.write(`written → cut: ${Math.round(performance.now() - start)} ms\n`);
  await expect(node.dial()).rejects.toThrow(/Authorization/);
}, 30_000);

test("a node is not let in under what is no id: it would be part of subjects", async () => {
  const added = encode({ publicKey: nkeys.createUser().getPublicKey(), by: "test" });
  const answer = await admin.request("mesh.identity.add.n$1", added, { timeout: 10_000 });
  expect(answer.json()).toMatchObject({ error: { code: "bad_request" } });
});

/** The first node of an id that a second one wanted. */
let undisturbed: NatsConnection | undefined;

/** What is wrong with it, what it is told to `node run`, and how that ends. */
type Bad = readonly [string, () => Promise<readonly string[]>, number, RegExp];

const joining = async (id: string, token: string | Promise<string>): Promise<readonly string[]> => [
  ...["node", "run", "--id", id, "--token", await token, "--handle", "echo=cat"],
];
/** A node whose seed is in a file of this text and mode. */
const withSeed = async (id: string, text: string, mode = 0o600): Promise<readonly string[]> => {
  const file = join(dir, `${id}.nk`);
  await writeFile(file, text);
  await chmod(file, mode);
  return ["--nkey", file, "node", "run", "--id", id, "--handle", "echo=cat"];
};

test.concurrent.each<Bad>([
  ["no token", () => joining("b1", "letmein"), 6, /no join token: .*; `swarmctl node token` makes/],
  [
    "a token of another mesh",
    () => joining("b2", `mesh_ABCDEFGH_${"s".repeat(43)}`),
    6,
    /of another mesh \(ABCDEFGH; this one is [A-Z2-7]{8}\); `swarmctl node token` makes one/,
  ],
  [
    "a token that nobody issued",
    async () => joining("b3", (await newToken({})).replace(/.{43}$/, "s".repeat(43))),
    6,
    /never issued the token, or has forgotten it; `swarmctl node token` makes one/,
  ],
  [
    "an expired token",
    async () => {
      const token = await newToken({ ttlMs: 1_000 });
      await sleep(2_500); // The server counts it, in whole seconds.
      return joining("b4", token);
    },
    6,
    /the token has expired; have another made; `swarmctl node token` makes one/,
  ],
  [
    "a used token",
    async () => {
      const token = await newToken({});
      expect(await newcomer("b5-first").join(token)).toMatchObject({ kind: "ok" });
      return joining("b5", token);
    },
    6,
    /the token was used already; each lets one node in; `swarmctl node token` makes one/,
  ],
  [
    "a token for another",
    () => joining("b6", newToken({ node: "b6-other" })),
    2,
    /the token is for b6-other, not for b6/,
  ],
  [
    "an id that is taken",
    async () => {
      const first = newcomer("b7");
      expect(await first.join(await newToken({}))).toMatchObject({ kind: "ok" });
      undisturbed = await first.dial();
      return joining("b7", newToken({}));
    },
    4,
    /b7 is enrolled with another key: choose another id, or revoke b7 first/,
  ],
  [
    "the id of a node of the server's configuration",
    () => joining("n1", newToken({})),
    4,
    /n1 is a node of the server's configuration: choose another id/,
  ],
  [
    "a revoked seed, with a token that is good",
    async () => {
      const node = newcomer("b8");
      await node.add();
      await node.revoke();
      return [...(await withSeed("b8", node.seed)), "--token", await newToken({})];
    },
    6,
    /b8 was revoked by test at .*; to let the node in again delete its seed/,
  ],
  [
    "an account's seed",
    () => withSeed("b9", textOf(nkeys.createAccount().getSeed())),
    2,
    /b9\.nk holds no usable seed: it is not a user's/,
  ],
  ["a seed that is none", () => withSeed("b10", "SUrely not"), 2, /b10\.nk holds no usable seed/],
  [
    "a seed that others can read",
    async () => withSeed("b11", newcomer("b11").seed, 0o644),
    2,
    /b11\.nk can be read by others \(mode 644\)\. If nobody has, chmod 600 it/,
  ],
  [
    "a seed that is not there",
    async () => ["--nkey", join(dir, "b12.nk"), "node", "run", "--id", "b12", "--handle", "e=cat"],
    2,
    /b12\.nk: there is no such file/,
  ],
])(
  "%s ends a node with a line that says so",
  async (_, prepare, status, message) => {
    const args = await prepare();
    const io = terminal();
    const server = args[0] === "--nkey" ? ["--server", run.mesh.url] : [];
    expect({ status: await swarmctl([...server, ...args], io), said: io.stderr }).toEqual({
      status,
      said: expect.stringMatching(message),
    });
    expect(io.stderr.trim()).not.toContain("\n");
  },
  60_000,
);

test("the node whose id another one wanted did not notice", async () => {
  expect(undisturbed?.isClosed()).toBe(false);
  await undisturbed?.flush();
  await undisturbed?.close();
});

test("authenticators and a node whose clocks are an hour off let in and shut out as any other", async () => {
  const clock = (name: string, offsetMs: number): Record<string, string> => {
    const file = join(dir, `clock-${name}`);
    writeFileSync(file, String(offsetMs));
    return {
      NODE_OPTIONS: `--import=${pathToFileURL(CLOCK_SHIFT).href}`,
      FAULTS_CLOCK: file,
    };
  };
  run.mesh.startService("authenticator", clock("ahead", HOUR_MS));
  run.mesh.startService("authenticator", clock("behind", -HOUR_MS));
  run.mesh.kill("authenticator-2");

  await until("they answer", async () => {
    const answers = [newToken({}), newcomer("c").join("letmein")];
    return (await Promise.allSettled(answers)).every(({ status }) => status === "fulfilled");
  });

  // Whoever answers writes down when, by its own clock: both have to be seen at work.
  const seen = new Set<string>();
  let count = 0;
  await until(
    "both have let nodes in",
    async () => {
      const node = newcomer(`c${count++}`);
      const token = await newToken({ ttlMs: 30_000 });
      expect(await node.join(token)).toMatchObject({ kind: "ok", value: { node: node.id } });
      expect(await newcomer(node.id).join(token)).toMatchObject({
        kind: "refused",
        error: { code: "token_used" },
      });
      const nc = await node.dial();
      const { addedAt } = (await node.revoke()).identity;
      await nc.closed();
      await expect(node.dial()).rejects.toThrow(/Authorization/);
      seen.add(Date.parse(addedAt) > Date.now() ? "ahead" : "behind");
      return seen.size === 2;
    },
    60_000,
  );
  const late = await newToken({ ttlMs: 1_000 });
  const endsAt = performance.now() + 2_500;
  const node = await joinByToken("c-node", await newToken({}), clock("node", -HOUR_MS));
  await until("c-node works", async () => (await nodeRecord("c-node"))?.state === "ACTIVE");
  await sleep(Math.max(0, endsAt - performance.now())); // The server counts it, in whole seconds.
  expect(await newcomer("c-late").join(late)).toMatchObject({
    error: { code: "token_expired" },
  });
  await command("keys", "revoke", "c-node");
  expect(await node.ended).toEqual([6, null]);
}, 120_000);

/** Somebody with a key of its own. */
interface Newcomer {
  readonly id: string;
  readonly seed: string;
  readonly dial: () => Promise<NatsConnection>;
  /** Asks the lobby to be let in. */
  readonly join: (token: string) => Promise<Answer<JoinAnswer>>;
  /** What an operator does. */
  readonly add: () => Promise<Identity>;
  readonly revoke: () => Promise<RevokeAnswer>;
}

function newcomer(id: string): Newcomer {
  const user = nkeys.createUser();
  const publicKey = user.getPublicKey();
  const open = (name: string, inboxPrefix: string): Promise<NatsConnection> =>
    connect({
      ...{ servers: run.mesh.url, name, inboxPrefix, reconnect: false },
      authenticator: nkeyAuthenticator(user.getSeed()),
    });
  return {
    id,
    seed: textOf(user.getSeed()),
    dial: () => open(`node/${id}`, `_INBOX_${id}`),
    join: async (token) => {
      const inboxPrefix = `_INBOX_${publicKey}`;
      const nc = await open(LOBBY_NAME, inboxPrefix);
      try {
        const requester = new Requester(nc, { inboxPrefix });
        const request = { node: id, token };
        return await ask(requester, identityJoinSubject(publicKey), request, JoinAnswer);
      } finally {
        await nc.close();
      }
    },
    add: async () =>
      Identity.parse(await operator(identityAddSubject(id), { publicKey, by: "test" })),
    revoke: async () =>
      RevokeAnswer.parse(await operator(identityRevokeSubject(id), { by: "test" })),
  };
}

async function newToken(wanted: { ttlMs?: number; node?: string }): Promise<string> {
  const answer = await operator(IDENTITY_TOKEN_SUBJECT, { ttlMs: 60_000, by: "test", ...wanted });
  return TokenAnswer.parse(answer).token;
}

async function operator(subject: string, body: object): Promise<unknown> {
  return (await admin.request(subject, encode(body), { timeout: 10_000 })).json();
}

/** Dials with a refused key until `signal` aborts; how often it was refused. */
async function keepTrying(node: Newcomer, signal: AbortSignal): Promise<number> {
  let refusals = 0;
  while (!signal.aborted) {
    await expect(node.dial()).rejects.toThrow(/Authorization/);
    refusals++;
    await sleep(50);
  }
  return refusals;
}

interface Joined {
  readonly pid: number;
  readonly ended: Promise<unknown[]>;
  readonly said: () => string;
}

/** A terminal on this machine, in this process: starting one for each command takes a second. */
function terminal(): FakeIo {
  const env = { MESH_DIR: run.mesh.dir, MESH_LOG_LEVEL: "silent", PATH: process.env["PATH"] ?? "" };
  return new FakeIo({ cwd: dir, home: dir, env });
}

/** What a command prints that goes well. */
async function command(...args: readonly string[]): Promise<string> {
  const io = terminal();
  expect({ status: await swarmctl(args, io), said: io.stderr }).toEqual({ status: 0, said: "" });
  return io.stdout;
}

/** A process of its own that runs a node; resolves when it has joined. */
async function joinByToken(
  id: string,
  token: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Joined> {
  const child: ChildProcess = spawn(
    process.execPath,
    [
      ...[SWARMCTL, "node", "run", "--id", id, "--token", token],
      ...["--handle", `work=module:${HANDLER}`, "--slots", String(SLOTS), "--stop-with-parent"],
    ],
    {
      env: { ...process.env, MESH_DIR: run.mesh.dir, MESH_RUNS: join(dir, "runs.jsonl"), ...env },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    },
  );
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
  }
  const ended = once(child, "exit");
  const first = await Promise.race([once(child, "message"), ended.then(() => undefined)]);
  if (first === undefined) throw new Error(`${id} ended\n${said}`);
  return { pid: child.pid ?? 0, ended, said: () => said };
}

function textOf(seed: Uint8Array): string {
  return new TextDecoder().decode(seed);
}

async function nodeRecord(id: string): Promise<NodeRecord | undefined> {
  return (await run.client.nodes()).find((node) => node.id === id);
}

/** Tasks that a process has begun and not brought to their end: it has them in hand, or had, when it died. */
function inHand(pid: number): readonly string[] {
  const file = join(dir, "runs.jsonl");
  const begun = new Set<string>();
  for (const text of existsSync(file) ? readFileSync(file, "utf8").split("\n") : []) {
    if (text === "") continue;
    const line = JSON.parse(text) as { pid: number; task: string; what: string; how?: string };
    if (line.pid !== pid) continue;
    if (line.what === "started") begun.add(line.task);
    else if (line.how === "ok") begun.delete(line.task);
  }
  return [...begun];
}
