import { execFile } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test as base } from "@swarm-mesh/testkit";
import { describe, expect, test } from "vitest";
import { run } from "../src/main.ts";
import { FakeIo } from "./fake-io.ts";

const BIN = join(import.meta.dirname, "..", "bin", "swarmctl.js");

interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command as a process of its own, as people do. */
function swarmctl(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const options = { env: { PATH: process.env["PATH"] ?? "", ...env }, cwd: tmpdir() };
  return new Promise((resolve) => {
    execFile(process.execPath, [BIN, ...args], options, (error, stdout, stderr) => {
      resolve({ status: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
    });
  });
}

async function inProcess(...args: readonly string[]): Promise<Ended> {
  const io = new FakeIo();
  const status = await run(args, io);
  return { status, stdout: io.stdout, stderr: io.stderr };
}

describe("swarmctl as a process", () => {
  test("shows help and version, and ends with 0", async () => {
    const help = await swarmctl(["--help"]);
    expect(help).toMatchObject({ status: 0, stderr: "" });
    expect(help.stdout).toContain("Exit status:");
    const { version } = JSON.parse(
      await readFile(join(import.meta.dirname, "..", "package.json"), "utf8"),
    ) as { version: string };
    expect(await swarmctl(["--version"])).toEqual({
      status: 0,
      stdout: `${version}\n`,
      stderr: "",
    });
  });

  test("ends with 2 on a bad command, as text or as JSON", async () => {
    const text = await swarmctl(["taks"]);
    expect(text).toMatchObject({ status: 2, stdout: "" });
    expect(text.stderr).toMatch(/^swarmctl: unknown command 'taks' \(Did you mean task\?\); .*\n$/);
    const json = await swarmctl(["task", "get", "-o", "json"]);
    expect(json.status).toBe(2);
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: "usage", status: 2 } });
  });

  test("ends with 1 where no server is, and says what to do", async () => {
    const ended = await swarmctl(["status", "-s", "nats://127.0.0.1:1"]);
    expect(ended.status).toBe(1);
    expect(ended.stderr).toMatch(/^swarmctl: no nats-server at nats:\/\/127\.0\.0\.1:1 .*dev.*\n$/);
  });
});

describe("a command line", () => {
  test.each([
    [[], "no command"],
    [["task"], "no command"],
    [["task", "submit"], "missing required argument 'capability'"],
    [["task", "list", "--limit"], "argument missing"],
    [["status", "--nope"], "unknown option '--nope'"],
    [["status", "-o", "yaml"], "--output"],
    [["status", "--timeout", "soon"], "--timeout"],
    [["node", "run", "--id", "n1"], "a node needs something to do"],
    [["node", "run", "--handle", "echo=cat"], "required option '--id <id>'"],
    [["node", "run", "--id", "n 1", "--handle", "echo=cat"], "no node id"],
    [["service", "nope"], "is no service"],
    [["dev", "--nodes", "many"], "--nodes"],
    [["dev", "--handle", "echo"], "--handle"],
    [["dead", "list", "--limit", "0"], "--limit"],
    [["keys", "init", "--nodes", "a.b"], "no node id"],
  ])("%j is a usage error", async (args, message) => {
    const ended = await inProcess(...args);
    expect(ended).toMatchObject({ status: 2, stdout: "" });
    expect(ended.stderr).toContain(message);
    expect(ended.stderr.trim().split("\n")).toHaveLength(1);
  });

  test.each([
    ["dev"],
    ["service"],
    ["node", "run"],
    ["node", "list"],
    ["node", "get"],
    ["node", "drain"],
    ["task", "submit"],
    ["task", "get"],
    ["task", "wait"],
    ["task", "watch"],
    ["task", "list"],
    ["task", "cancel"],
    ["dead", "list"],
    ["dead", "get"],
    ["dead", "retry"],
    ["leader"],
    ["status"],
    ["keys", "init"],
    ["keys", "add"],
    ["completion"],
  ])("%s %s has help with an example, and the global flags", async (...path) => {
    const { status, stdout } = await inProcess(...path.filter(Boolean), "--help");
    expect(status).toBe(0);
    expect(stdout).toMatch(/Examples?:\n {2}\$ .*(swarmctl|tar)/);
    expect(stdout.match(/--context <name>/g)).toHaveLength(1);
    expect(stdout).not.toContain("stop-with-parent");
  });
});

describe("keys", () => {
  test("init makes a mesh's, add one node's; a repeat changes nothing", async () => {
    const dir = await mkdtemp(join(tmpdir(), "mesh-keys-"));
    const first = await inProcess("keys", "init", "--dir", dir, "--nodes", "n1", "-o", "json");
    expect(first).toMatchObject({ status: 0, stderr: "" });
    const { publicKeys } = JSON.parse(first.stdout) as { publicKeys: Record<string, string> };
    expect(publicKeys["n1"]).toMatch(/^U[A-Z2-7]{55}$/);
    const again = await inProcess("keys", "init", "--dir", dir);
    expect(again.stdout).toContain(publicKeys["admin"]);
    const added = await inProcess("keys", "add", "n2", "--dir", dir);
    expect(added.stdout).toMatch(/^n2 is U.*keys\/n2\.nk\n/);
    expect(`${first.stdout}${again.stdout}${added.stdout}`).not.toMatch(/\bSU[A-Z2-7]{56}/);
    expect((await inProcess("keys", "add", "admin", "--dir", dir)).status).toBe(2);
    await rm(dir, { recursive: true });
  });
});

base("a seed that others can read, or no mesh, is told in one line", async ({ server }) => {
  const dir = await mkdtemp(join(tmpdir(), "mesh-keys-"));
  const seed = join(dir, "n1.nk");
  await writeFile(seed, "nonsense");
  await chmod(seed, 0o644);
  const open = await inProcess("-s", server.url, "--nkey", seed, "status");
  expect(open).toMatchObject({ status: 6 });
  expect(open.stderr).toContain("can be read by others");
  const empty = await inProcess("-s", server.url, "leader", "--timeout", "200ms");
  expect(empty.status).not.toBe(0);
  expect(empty.stderr.trim().split("\n")).toHaveLength(1);
  await rm(dir, { recursive: true });
});

test("a server that never answers ends with 5, one that refuses us with 6", async () => {
  const mute = await listening(() => undefined);
  const late = await inProcess("-s", mute.url, "task", "list", "--timeout", "100ms");
  expect(late).toMatchObject({ status: 5, stderr: expect.stringContaining("within 100 ms") });
  mute.close();

  const info = JSON.stringify({ server_id: "S", version: "2.15.1", max_payload: 1, proto: 1 });
  const stern = await listening((socket) => {
    socket.write(`INFO ${info}\r\n`);
    socket.once("data", () => socket.end("-ERR 'Authorization Violation'\r\n"));
  });
  const refused = await inProcess("-s", stern.url, "task", "list", "-o", "json");
  expect(refused.status).toBe(6);
  expect(JSON.parse(refused.stderr)).toMatchObject({ error: { code: "denied", status: 6 } });
  expect(refused.stderr).toContain("no key was given");
  stern.close();
});

/** A server that takes connections and does what it is told with them. */
async function listening(
  onSocket: (socket: Socket) => void,
): Promise<{ readonly url: string; readonly close: () => void }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on("error", () => undefined));
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  return {
    url: `nats://127.0.0.1:${port}`,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
