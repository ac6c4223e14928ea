/** TLS, on a real server and with the commands that people use; and what is said when it is wrong. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { openConnection, type Protection, type TlsError } from "@swarm-mesh/bus";
import { connectClient } from "@swarm-mesh/client";
import { MeshNode } from "@swarm-mesh/node";
import { systemClock } from "@swarm-mesh/runtime";
import {
  ensureCertificates,
  locateNatsServer,
  type RunningNatsServer,
  readSeed,
  seedPath,
  startNatsServer,
} from "@swarm-mesh/server";
import { NatsServer } from "@swarm-mesh/testkit";
import type { NatsConnection } from "nats";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { run } from "../src/main.ts";
import { FakeIo } from "./fake-io.ts";

const BIN = join(import.meta.dirname, "..", "bin", "swarmctl.js");

let dir: string;
let server: RunningNatsServer;
/** Without TLS, accounts and keys. */
let plain: NatsServer;
/** Registry and coordinator. */
const services: ChildProcess[] = [];
/** All of them, those included that a hook which timed out is still starting. */
const servers: Promise<{ stop(): Promise<void> }>[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mesh-tls-"));
  await init("--tls", "--host", "nats.example.org", "--nodes", "n1");
  server = await start(dir);
  const starting = NatsServer.start();
  servers.push(starting);
  plain = await starting;
  for (const service of ["registry", "coordinator"]) await startService(service);
});

afterAll(async () => {
  for (const child of services) child.kill("SIGKILL");
  await Promise.allSettled(servers.map(async (starting) => (await starting).stop()));
  await rm(dir, { recursive: true, force: true });
});

test("services, node, client and swarmctl work over TLS, by the variables of the nats command", async () => {
  const env = { NATS_URL: server.url, NATS_CA: ca() };
  const node = new MeshNode({
    id: "n1",
    servers: server.url,
    seed: await seed("n1"),
    protection: { ca: ca() },
  });
  node.handle("echo", { run: async ({ payload }) => new TextDecoder().decode(payload) });
  onTestFinished(() => node.stop());
  await node.start();
  const client = await connectClient({
    servers: server.url,
    seed: await seed("client"),
    protection: { ca: ca() },
  });

  expect(client.nc.info?.tls_required).toBe(true);
  expect(await client.run("echo", "hello")).toBe("hello");

  const asked = await swarmctl(["node", "list"], { ...env, NATS_NKEY: seedPath(dir, "admin") });
  expect(asked).toMatchObject({ status: 0, stdout: expect.stringContaining("n1") });
  await client.close();
});

test("a context that keys init wrote has the authority in it", async () => {
  await init("--url", server.url);

  const asked = await swarmctl(["--context", "admin", "status"], { XDG_CONFIG_HOME: dir });

  expect(asked).toMatchObject({ stderr: "", status: 0 });
});

test("a new certificate, and a new authority, count from a reload on; who is connected stays", async () => {
  const before = await connection({ ca: ca() });
  const ends: unknown[] = [];
  void (async () => {
    for await (const { type } of before.status()) if (type === "disconnect") ends.push(type);
  })();
  await rm(join(dir, "tls"), { recursive: true });
  await init("--tls", "--host", "nats.example.org");

  server.reload();

  await expect
    .poll(async () => connection({ ca: ca() }).then((nc) => nc.close().then(() => "in"), String), {
      timeout: 10_000,
    })
    .toBe("in");
  await before.flush();
  expect(ends).toEqual([]);
  await before.close();
});

describe("a connection is refused, with what to do,", () => {
  test("when nobody trusted has signed the certificate", async () => {
    expect(await refusal(server.url, {})).toMatchObject({
      code: "bad_certificate",
      message: expect.stringMatching(/signed by nobody who is trusted here.*NATS_CA/),
    });
  });

  test("when the certificate is for other hosts", async () => {
    expect(await refusal(elsewhere(server.url), { ca: ca() })).toMatchObject({
      code: "bad_certificate",
      message: expect.stringMatching(/for other names.*0\.0\.0\.0.*keys init --tls --host/),
    });
  });

  test("when the file of the authority is not there", async () => {
    expect(await refusal(server.url, { ca: join(dir, "none.crt") })).toMatchObject({
      code: "bad_file",
      message: expect.stringMatching(/^NATS_CA cannot be read: ENOENT/),
    });
  });

  test("when the certificate has expired", async () => {
    await rm(join(dir, "tls", "server.crt"));
    const clock = { ...systemClock, now: () => Date.now() - 400 * 86_400_000 };
    await ensureCertificates(dir, { hosts: [], clock });
    // The tests that follow need one that has not.
    onTestFinished(() => init("--tls"));
    const expired = await start(dir);
    onTestFinished(() => expired.stop());

    expect(await refusal(expired.url, { ca: ca() })).toMatchObject({
      code: "bad_certificate",
      message: expect.stringMatching(/has expired: .*keys init --tls/),
    });
  });

  test("when a server that should have TLS has none", async () => {
    for (const url of [plain.url.replace("nats://", "tls://"), elsewhere(plain.url)]) {
      expect(await refusal(url, {})).toMatchObject({
        code: "plaintext",
        message: expect.stringMatching(/does not offer TLS.*MESH_ALLOW_PLAINTEXT=1/),
      });
    }
  });

  test("but not where the network is said to be one's own", async () => {
    const options = { servers: elsewhere(plain.url), name: "test", inbox: "test" };
    const nc = await openConnection({ ...options, protection: { allowPlaintext: true } });
    await nc.close();
  });
});

describe("plain text to another machine ends", () => {
  const refused = /does not offer TLS.*MESH_ALLOW_PLAINTEXT=1/;

  test.each([
    ["a service", ["service", "registry"], 2],
    ["a node", ["node", "run", "--id", "n1", "--handle", "echo=cat"], 6],
    ["a command", ["node", "list"], 6],
  ])("%s", async (_, args, status) => {
    const ended = await swarmctl(args, { NATS_URL: elsewhere(plain.url) });

    expect({ ...ended, stdout: "" }).toEqual({
      status,
      stdout: "",
      stderr: expect.stringMatching(refused),
    });
    expect(ended.stderr.trim().split("\n")).toHaveLength(1);
  });

  test("a node of the SDK", async () => {
    const node = new MeshNode({ id: "n1", servers: elsewhere(plain.url) });
    node.handle("echo", { run: async () => "" });
    await expect(node.start()).rejects.toThrow(refused);
  });

  test("a client of the SDK", async () => {
    await expect(connectClient({ servers: elsewhere(plain.url) })).rejects.toThrow(refused);
  });
});

describe("keys init", () => {
  test("says which hosts need --tls, and what is no host", async () => {
    expect(await initWith("--host", "a")).toMatchObject({ status: 2, stderr: /--tls makes it/ });
    expect((await initWith("--tls", "--host", "a:4222")).stderr).toMatch(/"a:4222" is no host/);
  });

  test("refuses servers that would talk to each other in the clear, unless told that they may", async () => {
    const other = await mkdtemp(join(tmpdir(), "mesh-servers-"));
    const three = ["--dir", other, "--servers", "nats-1=10.0.0.1,nats-2=10.0.0.2,nats-3=10.0.0.3"];
    const own = { MESH_ALLOW_PLAINTEXT: "1" };

    expect(await initWith(...three)).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/in the clear.*--tls.*MESH_ALLOW_PLAINTEXT=1/),
    });
    expect(await readdir(other)).toEqual([]);
    expect(await runInit(own, ...three)).toEqual({ status: 0, stderr: "" });
    expect(await readFile(join(other, "routes.conf"), "utf8")).not.toMatch("tls {");

    expect(await initWith(...three, "--tls")).toEqual({ status: 0, stderr: "" });
    // Who has TLS keeps it, asked for or not.
    expect(await initWith(...three)).toEqual({ status: 0, stderr: "" });
    expect(await readFile(join(other, "routes.conf"), "utf8")).toMatch("tls {");
    await rm(other, { recursive: true });
  });

  test("keeps local.conf, and what nats-server.conf was before", async () => {
    const other = await mkdtemp(join(tmpdir(), "mesh-conf-"));
    onTestFinished(() => rm(other, { recursive: true, force: true }));
    await initWith("--dir", other);
    await appendFile(join(other, "nats-server.conf"), "max_payload: 3MB\n");
    await writeFile(join(other, "local.conf"), "max_payload: 1MB\n");

    const again = await initWith("--dir", other);

    expect(again.stderr).toMatch(
      /nats-server\.conf was renewed.*nats-server\.conf\.old.*local\.conf/,
    );
    expect(await readFile(join(other, "nats-server.conf.old"), "utf8")).toMatch(
      /max_payload: 3MB\n$/,
    );
    expect(await readFile(join(other, "local.conf"), "utf8")).toBe("max_payload: 1MB\n");
    expect((await initWith("--dir", other)).stderr).toBe("");
    const limited = await start(other);
    onTestFinished(() => limited.stop());
    const nc = await openConnection({
      ...{ servers: limited.url, name: "test", inbox: "admin" },
      seed: await readSeed(seedPath(other, "admin")),
    });
    expect(nc.info?.tls_required).toBeUndefined();
    expect(nc.info?.max_payload).toBe(1024 * 1024);
    await nc.close();
  });
});

/** The same server by an address that is not this machine's name. */
function elsewhere(url: string): string {
  return url.replace("127.0.0.1", "0.0.0.0");
}

const ca = (): string => join(dir, "tls", "ca.crt");
const seed = (user: string): Promise<Uint8Array> => readSeed(seedPath(dir, user));

function start(where: string): Promise<RunningNatsServer> {
  const starting = locateNatsServer().then(({ path: binary }) =>
    startNatsServer({ binary, conf: join(where, "nats-server.conf"), dir: where }),
  );
  servers.push(starting);
  return starting;
}

async function connection(protection: Protection): Promise<NatsConnection> {
  const options = { servers: server.url, name: "test", inbox: "admin", patient: false };
  return openConnection({ ...options, seed: await seed("admin"), protection });
}

/** Why there is no connection. Whoever is patient is refused as well: waiting does not help. */
async function refusal(url: string, protection: Protection): Promise<unknown> {
  const options = { servers: url, name: "test", inbox: "admin", protection };
  const nc = openConnection({ ...options, seed: await seed("admin") });
  return nc.then(
    async (open) => open.close().then(() => "connected"),
    (error: TlsError) => error,
  );
}

/** `swarmctl keys init`, in this process, into the directory of the test unless another is named. */
function initWith(...args: readonly string[]) {
  return runInit({}, ...args);
}

async function runInit(env: Record<string, string>, ...args: readonly string[]) {
  const io = new FakeIo({ cwd: dir, env });
  const status = await run(["keys", "init", "--dir", dir, ...args], io);
  return { status, stderr: io.stderr };
}

async function init(...args: readonly string[]): Promise<void> {
  expect(await initWith(...args)).toEqual({ status: 0, stderr: "" });
}

interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command as a process of its own, as people do. */
function swarmctl(args: readonly string[], env: Record<string, string>): Promise<Ended> {
  const options = { env: { PATH: process.env["PATH"] ?? "", ...env }, cwd: dir };
  return new Promise((resolve) => {
    execFile(process.execPath, [BIN, ...args], options, (error, stdout, stderr) => {
      resolve({ status: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
    });
  });
}

/** Starts a service and waits until it says that it is ready. */
async function startService(name: string): Promise<void> {
  const variables = { NATS_URL: server.url, NATS_CA: ca(), NATS_NKEY: seedPath(dir, name) };
  const child = spawn(process.execPath, [BIN, "service", name], {
    env: { PATH: process.env["PATH"] ?? "", ...variables },
    stdio: ["ignore", "pipe", "inherit"],
  });
  services.push(child);
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.includes('"ready"')) break;
  }
  child.stdout.resume();
}
