/** An operator's night: dead letters are redriven, lists agree with the store, events have no gaps. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { TaskRecord } from "@swarm-mesh/protocol";
import { Mesh } from "@swarm-mesh/testkit";
import { test as base, describe, expect, onTestFinished } from "vitest";
import { run } from "../../packages/cli/src/main.ts";
import { FakeIo } from "../../packages/cli/test/fake-io.ts";

const SWARMCTL = join(import.meta.dirname, "..", "..", "packages", "cli", "bin", "swarmctl.js");
const LETTERS = 200;
const PATIENCE_MS = 30_000;

interface Ground {
  readonly mesh: Mesh;
  /** `broken` fails while this file is there, and writes its payload into `ran` when it is not. */
  readonly flag: string;
  readonly ran: string;
}

const test = base.extend<{ ground: Ground }>({
  ground: [
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
    async ({}, use) => {
      const dir = await mkdtemp(join(tmpdir(), "mesh-operator-"));
      const [flag, ran] = [join(dir, "broken"), join(dir, "ran")];
      await writeFile(flag, "");
      await writeFile(ran, "");
      const broken = `sh -c 'if [ -e ${flag} ]; then echo no space left >&2; exit 1; fi; printf "%s\\n" "$(cat)" >> ${ran}'`;
      const handles = [`broken=${broken}`, "echo=cat"];
      const mesh = await Mesh.start({ nodes: 2, slots: 8, handles });
      await use({ mesh, flag, ran });
      await mesh.stop();
      await rm(dir, { recursive: true, force: true });
    },
    { scope: "file" },
  ],
});

/** Runs a command line as the dev mesh's own user, in this process. */
async function swarmctl(mesh: Mesh, ...args: readonly string[]) {
  const io = new FakeIo({ env: { MESH_DIR: mesh.dir } });
  const status = await run(args, io);
  return { status, stdout: io.stdout, stderr: io.stderr };
}

async function json<T>(mesh: Mesh, ...args: readonly string[]): Promise<T> {
  const { status, stdout, stderr } = await swarmctl(mesh, ...args, "-o", "json");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return JSON.parse(stdout) as T;
}

async function lettersLeft(mesh: Mesh): Promise<number> {
  const manager = await jetstreamManager(await mesh.connect("admin"));
  return (await manager.streams.info("MESH_DEAD")).state.messages;
}

describe("dead letters", () => {
  test("of a broken handler are counted as one trouble", async ({ ground: { mesh, flag } }) => {
    const payloads = Array.from({ length: LETTERS }, (_, index) => `job-${index}`);
    const list = `${flag}.list`;
    await writeFile(list, payloads.join("\n"));
    const submit = [
      "task",
      "submit",
      "broken",
      "--lines",
      list,
      "--id",
      "j",
      "--max-attempts",
      "1",
    ];
    expect(await json(mesh, ...submit)).toMatchObject({ submitted: LETTERS });
    await expect.poll(() => lettersLeft(mesh), { timeout: PATIENCE_MS }).toBe(LETTERS);
    const { groups } = await json<{ groups: readonly object[] }>(mesh, "dead", "list", "--group");
    expect(groups).toEqual([
      expect.objectContaining({ code: "handler_final", count: LETTERS, capabilities: ["broken"] }),
    ]);
    const viewer = ["--server", mesh.url, "--nkey", mesh.key("viewer")];
    const seen = await json<{ dead: readonly object[] }>(
      mesh,
      "dead",
      "list",
      "--limit",
      "3",
      ...viewer,
    );
    expect(seen.dead).toHaveLength(3);
    expect(await swarmctl(mesh, "dead", "retry", "j-1", ...viewer)).not.toMatchObject({
      status: 0,
    });
    expect(await lettersLeft(mesh)).toBe(LETTERS);
  });

  test("are retried at a rate by one who is killed, and by the next: none lost, none twice", async ({
    ground: { mesh, flag, ran },
  }) => {
    await rm(flag, { force: true });
    const retry = ["dead", "retry", "--error", "no space left", "--rate", "100/s"];
    const env = { ...process.env, MESH_DIR: mesh.dir };
    const child = spawn(process.execPath, [SWARMCTL, ...retry], { env, stdio: "ignore" });
    onTestFinished(() => void child.kill("SIGKILL"));
    const exited = new Promise((resolve) => child.once("exit", resolve));
    await expect
      .poll(() => lettersLeft(mesh), { timeout: PATIENCE_MS, interval: 20 })
      .toBeLessThan(LETTERS - 40);
    child.kill("SIGKILL");
    await exited;
    const left = await lettersLeft(mesh);
    expect(left).toBeGreaterThan(0);
    expect(await json(mesh, ...retry)).toMatchObject({ retried: left, failed: 0 });
    expect(await lettersLeft(mesh)).toBe(0);
    const done = async (): Promise<number> => {
      const { tasks } = await json<{ tasks: readonly TaskRecord[] }>(
        ...([mesh, "task", "list", "--status", "succeeded"] as const),
        ...(["--capability", "broken", "--limit", "1000"] as const),
      );
      return tasks.length;
    };
    await expect.poll(done, { timeout: PATIENCE_MS }).toBe(LETTERS);
    const lines = (await readFile(ran, "utf8")).split("\n").filter((text) => text !== "");
    const wanted = Array.from({ length: LETTERS }, (_, index) => `job-${index}`);
    expect([...lines].sort()).toEqual([...wanted].sort());
    expect(await mesh.record("j-1")).toMatchObject({ status: "failed" });
  });
});

describe("lists", () => {
  test("agree with what the bucket holds", async ({ ground: { mesh } }) => {
    const manager = await jetstreamManager(await mesh.connect("admin"), { checkAPI: false });
    const subjects = { subjects_filter: "$KV.mesh_tasks.>" };
    const { state } = await manager.streams.info("KV_mesh_tasks", subjects);
    const records: TaskRecord[] = [];
    for (const last_by_subj of Object.keys(state.subjects ?? {})) {
      const entry = await manager.streams.getMessage("KV_mesh_tasks", { last_by_subj });
      if (entry !== null) records.push(entry.json<TaskRecord>());
    }
    expect(records.length).toBe(2 * LETTERS);
    const listed = async (...flags: readonly string[]): Promise<readonly string[]> => {
      const viewer = ["--server", mesh.url, "--nkey", mesh.key("viewer"), "--limit", "1000"];
      const { tasks } = await json<{ tasks: readonly TaskRecord[] }>(
        ...([mesh, "task", "list", ...flags, ...viewer] as const),
      );
      return tasks.map(({ id }) => id).sort();
    };
    const held = (wanted: (record: TaskRecord) => boolean): readonly string[] =>
      records
        .filter(wanted)
        .map(({ id }) => id)
        .sort();
    expect(await listed()).toEqual(held(() => true));
    expect(await listed("--status", "failed")).toEqual(held(({ status }) => status === "failed"));
    expect(await listed("--node", "n2", "--error", "handler_final")).toEqual(
      held(({ node, error }) => node === "n2" && error?.code === "handler_final"),
    );
    expect(await listed("--search", "-r1")).toEqual(
      held((record) => JSON.stringify(record).includes("-r1")),
    );
    const middle = records[LETTERS]?.submittedAt ?? "";
    const ageMs = Date.now() - Date.parse(middle);
    const newer = await listed("--newer-than", `${ageMs}ms`);
    expect(newer.length).toBeGreaterThan(0);
    const older = await listed("--older-than", `${ageMs}ms`);
    expect(new Set([...newer, ...older]).size).toBeLessThanOrEqual(records.length);
  });
});

describe("events", () => {
  test("are followed without a gap while the server is away", async ({ ground: { mesh } }) => {
    const io = new FakeIo({ env: { MESH_DIR: mesh.dir } });
    const following = run(["events", "-f", "--limit", "0", "--node", "n7", "-o", "jsonl"], io);
    const seen = (): readonly string[] =>
      io.stdout
        .split("\n")
        .filter((text) => text !== "")
        .map((text) => (JSON.parse(text) as { kind: string }).kind);
    const nc = await mesh.connect("admin");
    const said: string[] = [];
    const say = async (): Promise<boolean> => {
      const kind = `k${said.length}`;
      const stored = await jetstream(nc)
        .publish(`mesh.events.node.n7.${kind}`, "{}", { msgID: kind })
        .catch(() => undefined);
      if (stored === undefined) return false;
      said.push(kind);
      return true;
    };
    await expect.poll(say, { timeout: PATIENCE_MS }).toBe(true);
    await expect
      .poll(async () => (await say()) && seen().length > 0, { timeout: PATIENCE_MS })
      .toBe(true);
    mesh.kill("nats-server");
    mesh.startServer();
    await expect.poll(say, { timeout: PATIENCE_MS }).toBe(true);
    for (let index = 0; index < 5; index++)
      await expect.poll(say, { timeout: PATIENCE_MS }).toBe(true);
    await expect.poll(() => seen().at(-1), { timeout: PATIENCE_MS }).toBe(said.at(-1));
    // From the first that was seen on, every one, once.
    expect(seen()).toEqual(said.slice(said.indexOf(seen()[0] ?? "")));
    io.stop.abort();
    expect(await following).toBe(0);
  });
});
