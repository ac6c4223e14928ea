import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test as base, describe, expect, test } from "vitest";
import { readDevFile, writeDevFile } from "../src/dev/dev-file.ts";
import { clearLeftovers } from "../src/dev/leftovers.ts";
import { linePrinter, shorten } from "../src/dev/log-lines.ts";
import { nextSteps } from "../src/dev/next-steps.ts";
import { devOptions, HANDLES_DEFAULT, planProcesses } from "../src/dev/plan.ts";
import { run } from "../src/main.ts";
import { painter } from "../src/output.ts";
import { FakeIo } from "./fake-io.ts";

const FLAGS = { port: "0", dir: ".mesh", nodes: "2", slots: "4", replicas: "2" };
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
      "n1",
      "n2",
    ]);
    expect(plans[3]).toMatchObject({
      kind: "coordinator",
      args: ["service", "coordinator", "--stop-with-parent"],
      env: { NATS_NKEY: "/k/coordinator.nk", MESH_INSTANCE: "coordinator-2", PATH: "/bin" },
    });
    expect(plans[9]).toMatchObject({ kind: "node", env: { NATS_NKEY: "/k/n2.nk" } });
    expect(plans[9]?.args.join(" ")).toContain("--handle echo=cat --handle slow=module:./s.js");
    expect(plans[9]?.env).not.toHaveProperty("NATS_CONTEXT");
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
  const there = nextSteps({ ...shared, dir: "/tmp/a b", handles: ["x=cat"] });
  expect(there).toContain("  MESH_DIR='../tmp/a b' npx swarmctl task submit x '\"hi\"' --wait");
  expect(there).not.toContain("kill -9");
});

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

describe("swarmctl dev", () => {
  inDir(
    "runs until it is told to stop, and leaves nothing",
    { timeout: 60_000 },
    async ({ dir }) => {
      const io = new FakeIo({ cwd: dir, env: environment() });
      const running = run(["dev", "--port", "0", "--nodes", "1", "--handle", "echo=cat"], io);
      while (!existsSync(join(dir, ".mesh", "dev.json"))) await sleep(10);
      const pids = readDevFile(join(dir, ".mesh"))?.processes.map(({ pid }) => pid) ?? [];
      expect(pids).toHaveLength(6);

      const task = new FakeIo({ cwd: dir });
      expect(await run(["task", "submit", "echo", "hi", "--wait"], task)).toBe(0);
      expect(task.stdout).toBe("hi\n");

      process.emit("SIGTERM");
      expect(await running).toBe(0);
      expect(io.stdout).toMatch(/ready after .*stopped\n$/s);
      expect(existsSync(join(dir, ".mesh", "dev.json"))).toBe(false);
      expect(pids.filter((pid) => isAlive(pid))).toEqual([]);
    },
  );

  inDir("ends all when one does not start", { timeout: 60_000 }, async ({ dir }) => {
    const io = new FakeIo({ cwd: dir, env: environment() });
    const args = ["--nodes", "1", "--handle", "bad=module:./nowhere.js", "--json-logs"];
    expect(await run(["dev", "--port", "0", ...args], io)).toBe(1);
    expect(io.stderr).toContain("n1 ended (status 1) before it was ready");
    expect(execFileSync("ps", ["-eo", "args"], { encoding: "utf8" })).not.toContain(dir);
  });
});

describe("swarmctl node run", () => {
  inDir("joins, runs a program, and drains when told", { timeout: 60_000 }, async ({ dir }) => {
    const io = new FakeIo({ cwd: dir, env: environment() });
    const running = run(["dev", "--port", "0", "--nodes", "0"], io);
    while (!existsSync(join(dir, ".mesh", "dev.json"))) await sleep(10);
    await run(["keys", "add", "n7"], new FakeIo({ cwd: dir }));
    const file = readDevFile(join(dir, ".mesh"));
    const server = file?.processes.find(({ kind }) => kind === "nats-server");
    process.kill(server?.pid ?? 0, "SIGHUP");

    const seed = join(dir, ".mesh", "keys", "n7.nk");
    const env = { NATS_URL: file?.url ?? "", NATS_NKEY: seed, MESH_LOG_LEVEL: "silent" };
    const node = new FakeIo({ cwd: dir, env });
    const nodeRunning = run(["node", "run", "--id", "n7", "--handle", "count=wc -c"], node);
    const task = new FakeIo({ cwd: dir });
    expect(await run(["task", "submit", "count", "abc", "--wait"], task)).toBe(0);
    expect(task.stdout).toBe("3\n");

    process.emit("SIGTERM");
    expect(await nodeRunning).toBe(0);
    expect(await running).toBe(0);
  });
});

function environment(): Record<string, string> {
  const { PATH = "", HOME = "", NATS_SERVER = "" } = process.env;
  return { PATH, HOME, NATS_SERVER };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // No such process.
    return false;
  }
}
