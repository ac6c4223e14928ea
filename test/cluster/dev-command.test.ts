/** `swarmctl dev` and `swarmctl node run` within this process, where their coverage is counted. */
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isAlive } from "@swarm-mesh/testkit";
import { test as base, expect } from "vitest";
import { readDevFile } from "../../packages/cli/src/dev/dev-file.ts";
import { clearLeftovers } from "../../packages/cli/src/dev/leftovers.ts";
import { run } from "../../packages/cli/src/main.ts";
import { FakeIo } from "../../packages/cli/test/fake-io.ts";

/** A directory of this test's own, and commands that are run in it. */
const test = base.extend<{ readonly dir: string }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  dir: async ({}, use) => {
    const dir = await mkdtemp(join(tmpdir(), "mesh-dev-"));
    await use(dir);
    await rm(dir, { recursive: true, force: true });
  },
});

test("dev runs until it is told to stop, and leaves nothing", async ({ dir }) => {
  const io = new FakeIo({ cwd: dir, env: environment() });
  const running = run(["dev", "--port", "0", "--nodes", "1", "--handle", "echo=cat"], io);
  const pids = await pidsOf(dir);
  expect(pids).toHaveLength(7);

  const task = new FakeIo({ cwd: dir });
  expect(await run(["task", "submit", "echo", "hi", "--wait"], task)).toBe(0);
  expect(task.stdout).toBe("hi\n");

  process.emit("SIGTERM");
  expect(await running).toBe(0);
  expect(io.stdout).toMatch(/ready after .*stopped\n$/s);
  expect(existsSync(join(dir, ".mesh", "dev.json"))).toBe(false);
  expect(pids.filter((pid) => isAlive(pid))).toEqual([]);
});

test("dev ends all when one does not start", async ({ dir }) => {
  const io = new FakeIo({ cwd: dir, env: environment() });
  const args = ["--nodes", "1", "--handle", "bad=module:./nowhere.js", "--json-logs"];
  expect(await run(["dev", "--port", "0", ...args], io)).toBe(1);
  expect(io.stderr).toContain("n1 ended (status 1) before it was ready");
  expect(await commandsWith(dir)).toEqual([]);
});

test("dev ends in order when it is told to while it starts", async ({ dir }) => {
  const io = new FakeIo({ cwd: dir, env: environment() });
  const running = run(["dev", "--port", "0", "--nodes", "1"], io);
  while ((await commandsWith(dir)).length === 0) await sleep(5);
  process.emit("SIGINT");
  expect(await running).toBe(0);
  expect(await commandsWith(dir)).toEqual([]);
});

test("node run joins, runs a program, and ends when it is drained", async ({ dir }) => {
  const io = new FakeIo({ cwd: dir, env: environment() });
  const running = run(["dev", "--port", "0", "--nodes", "0"], io);
  await pidsOf(dir);
  expect(await run(["keys", "add", "n7"], new FakeIo({ cwd: dir }))).toBe(0);
  const node = new FakeIo({ cwd: dir, env: { ...environment(), MESH_LOG_LEVEL: "silent" } });
  const nodeRunning = run(["node", "run", "--id", "n7", "--handle", "count=wc -c"], node);
  const task = new FakeIo({ cwd: dir });
  const submit = ["task", "submit", "count", "abc", "--wait", "--wait-timeout", "60s"];
  const status = await run(submit, task);
  expect({ status, stdout: task.stdout, stderr: task.stderr }).toEqual({
    status: 0,
    stdout: "3\n",
    stderr: "",
  });

  const drain = ["node", "drain", "n7", "--deadline", "1s", "--wait"];
  expect(await run(drain, new FakeIo({ cwd: dir }))).toBe(0);
  expect(await nodeRunning).toBe(0);
  process.emit("SIGTERM");
  expect(await running).toBe(0);
});

test("the server that a killed dev left behind is ended by the next one", async ({ dir }) => {
  const io = new FakeIo({ cwd: dir, env: environment() });
  const running = run(["dev", "--port", "0", "--nodes", "0"], io);
  const [serverPid = 0] = await pidsOf(dir);
  // As seen from the next one: the file is there, and this process is no swarmctl.
  await clearLeftovers(join(dir, ".mesh"));
  // Its parent is this process, and takes note of the end in its own time.
  await expect.poll(() => isAlive(serverPid)).toBe(false);
  expect(await readdir(join(dir, ".mesh"))).not.toContain("dev.json");
  await expect.poll(() => io.stdout).toContain("nats-server ended");
  process.emit("SIGTERM");
  expect(await running).toBe(0);
});

async function pidsOf(dir: string): Promise<readonly number[]> {
  while (readDevFile(join(dir, ".mesh")) === undefined) await sleep(10);
  return readDevFile(join(dir, ".mesh"))?.processes.map(({ pid }) => pid) ?? [];
}

function environment(): Record<string, string> {
  const { PATH = "", HOME = "", NATS_SERVER = "" } = process.env;
  return { PATH, HOME, NATS_SERVER };
}

/** The command lines, or working directories, of processes that have to do with `dir`. */
async function commandsWith(dir: string): Promise<readonly string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      const environ = readFileSync(`/proc/${pid}/environ`, "utf8");
      return command.includes(dir) || environ.includes(dir) ? [command] : [];
    } catch {
      // Ended meanwhile, or not ours to look at.
      return [];
    }
  });
}
