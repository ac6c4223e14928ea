import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test as base, describe, expect, onTestFinished, test } from "vitest";
import { readDevFile, SERVER_KIND, writeDevFile } from "../src/dev/dev-file.ts";
import { clearLeftovers } from "../src/dev/leftovers.ts";
import { linePrinter, shorten } from "../src/dev/log-lines.ts";
import { nextSteps } from "../src/dev/next-steps.ts";
import { devOptions, HANDLES_DEFAULT, planProcesses } from "../src/dev/plan.ts";
import { run } from "../src/main.ts";
import { painter } from "../src/output.ts";
import { FakeIo } from "./fake-io.ts";

const FLAGS = { port: "0", dir: ".mesh", nodes: "2", slots: "4", replicas: "2", servers: "1" };
const plain = painter(false);

/** A directory of this test's own. */
const inDir = base.extend<{ readonly dir: string }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  dir: async ({}, use) => {
    const dir = await mkdtemp(join(tmpdir(), "mesh-dev-"));
    await use(dir);
    await rm(dir, { recursive: true, force: true });
  },
});

describe("the plan", () => {
  const options = devOptions({ ...FLAGS, handle: ["echo=cat", "slow=module:./s.js"] }, "/w");
  const server = { url: "nats://x:1", seedPath: (user: string) => `/k/${user}.nk` };
  const plans = planProcesses(options, server, { PATH: "/bin", NATS_CONTEXT: "prod" });

  test("has every replica of every service, and the nodes, each with its own key", () => {
    expect(plans.map(({ name }) => name)).toEqual([
      "registry-1",
      "registry-2",
      "coordinator-1",
      "coordinator-2",
      "health-monitor-1",
      "health-monitor-2",
      "migrator-1",
      "migrator-2",
      "authenticator-1",
      "authenticator-2",
      "n1",
      "n2",
    ]);
    expect(plans[3]).toMatchObject({
      kind: "coordinator",
      args: ["service", "coordinator", "--stop-with-parent"],
      env: { NATS_NKEY: "/k/coordinator.nk", MESH_INSTANCE: "coordinator-2", PATH: "/bin" },
    });
    expect(plans[11]).toMatchObject({ kind: "node", env: { NATS_NKEY: "/k/n2.nk" } });
    expect(plans[11]?.args.join(" ")).toContain("--handle echo=cat --handle slow=module:./s.js");
    expect(plans[11]?.env).not.toHaveProperty("NATS_CONTEXT");
  });

  test("may have no node, and has handlers of its own when none are given", () => {
    const none = devOptions({ ...FLAGS, nodes: "0" }, "/w");
    expect(none).toMatchObject({ dir: "/w/.mesh", nodeIds: [], handles: HANDLES_DEFAULT });
    expect(() => devOptions({ ...FLAGS, port: "70000" }, "/w")).toThrow("--port");
  });
});

describe("log lines", () => {
  test("are shortened for people, raw for programs", () => {
    const line = JSON.stringify({
      level: "info",
      time: "2026-01-01T10:00:00.123Z",
      service: "registry",
      instance: "registry-1",
      nodeId: "n1",
      at: { deep: 1 },
      err: { message: "broken", stack: "Error: broken\n at x" },
      msg: "node joined",
    });
    expect(shorten(line, plain)).toBe(
      '10:00:00.123 info  node joined nodeId=n1 at={"deep":1} err="broken"',
    );
    for (const other of ["plain text", "{broken", '{"no":"message"}']) {
      expect(shorten(other, plain)).toBe(other);
    }
    expect(shorten(JSON.stringify({ msg: "m", long: "x".repeat(500) }), plain).length).toBeLessThan(
      200,
    );
  });

  test("stand behind the name of their process", () => {
    let printed = "";
    const options = { names: ["n1", "registry-1"], paint: plain, raw: false };
    const printer = linePrinter({ ...options, out: (text) => (printed += text) });
    printer.print("n1", "hello");
    expect(printed).toBe("n1         hello\n");
    const raw = linePrinter({ ...options, raw: true, out: (text) => (printed += text) });
    raw.print("n1", '{"msg":"x"}');
    expect(printed).toBe('n1         hello\n{"msg":"x"}\n');
  });
});

test("what to type next works as printed, wherever the directory is", () => {
  const file = {
    url: "nats://127.0.0.1:7",
    keys: {},
    processes: [
      { name: "nats-server", kind: "nats-server", pid: 1 },
      { name: "registry-1", kind: "registry", pid: 2 },
      { name: "n1", kind: "node", pid: 3 },
    ],
  };
  const shared = { file, tookMs: 1_234, paint: plain, cwd: "/w" };
  const here = nextSteps({ ...shared, dir: "/w/.mesh", handles: HANDLES_DEFAULT });
  expect(here).toContain("ready after 1.2 s: nats://127.0.0.1:7, 1 service, 1 node;");
  expect(here).toContain("  npx swarmctl task submit echo '\"hi\"' --wait");
  expect(here).toContain("  kill -9 3 ");
  const there = nextSteps({ ...shared, dir: "/srv/a b", handles: ["x=cat"] });
  expect(there).toContain("  MESH_DIR='../srv/a b' npx swarmctl task submit x '\"hi\"' --wait");
  expect(there).not.toContain("kill -9");
});

inDir(
  "a node that is revoked is revoked at every server of the mesh that is not gone",
  async ({ dir }) => {
    const io = new FakeIo({ cwd: dir });
    expect(await run(["keys", "init", "--dir", ".", "--nodes", "n1"], io)).toBe(0);
    const servers = ["nats-1", "nats-2", "nats-3"].map((name) => ({
      name,
      server: spawn(process.execPath, ["-e", "setInterval(() => undefined, 1_000)"]),
    }));
    onTestFinished(() => {
      for (const { server } of servers) server.kill("SIGKILL");
    });
    const told = servers.map(({ server }) => once(server, "exit"));
    const processes = servers.map(({ name, server }) => {
      return { name, kind: SERVER_KIND, pid: server.pid ?? 0 };
    });
    writeDevFile(dir, { url: "nats://x:1", keys: {}, processes });
    servers[0]?.server.kill("SIGKILL");
    expect(await told.shift()).toEqual([null, "SIGKILL"]);

    expect(await run(["keys", "revoke", "n1", "--dir", "."], io)).toBe(0);

    // Whoever does not listen for it is ended by it.
    expect(await Promise.all(told)).toEqual(Array(2).fill([null, "SIGHUP"]));
  },
  30_000,
);

describe("what an earlier mesh left", () => {
  inDir("is removed, unless it still runs", async ({ dir }) => {
    const processes = [{ name: "nats-server", kind: "nats-server", pid: process.pid }];
    // A pid that is another program's by now is left alone.
    writeDevFile(dir, { url: "nats://x:1", keys: {}, processes, pid: 1 });
    expect(readDevFile(dir)?.processes).toEqual(processes);
    await clearLeftovers(dir);
    expect(readDevFile(dir)).toBeUndefined();
    await writeFile(join(dir, "dev.json"), "nonsense");
    expect(readDevFile(dir)).toBeUndefined();
    await clearLeftovers(dir);
    expect(await readdir(dir)).toEqual([]);
  });
});
