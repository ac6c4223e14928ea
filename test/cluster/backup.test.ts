/**
 * The backup that docs/operations.md tells of: the server is stopped, its store copied, and an empty server
 * that is given the copy goes on with the tasks.
 */
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TaskRecord } from "@swarm-mesh/protocol";
import { isAlive, Mesh } from "@swarm-mesh/testkit";
import { headers } from "nats";
import { test as base, expect } from "vitest";

const WAITING = 50;
const COUNT = join(import.meta.dirname, "..", "..", "packages", "cli", "handlers", "count.js");

/** Directories of this test's own, and meshes that end with it. */
const test = base.extend<{
  readonly directory: () => Promise<string>;
  readonly meshOf: typeof Mesh.start;
}>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  directory: async ({}, use) => {
    const made: string[] = [];
    await use(async () => {
      const dir = await mkdtemp(join(tmpdir(), "mesh-backup-"));
      made.push(dir);
      return dir;
    });
    for (const dir of made) await rm(dir, { recursive: true, force: true });
  },
  // biome-ignore lint/correctness/noEmptyPattern: as above
  meshOf: async ({}, use) => {
    const started: Mesh[] = [];
    await use(async (options) => {
      const mesh = await Mesh.start(options);
      started.push(mesh);
      return mesh;
    });
    for (const mesh of started) await mesh.stop();
  },
});

test("an empty server that is given a copy of the stopped one's store goes on with its tasks", async ({
  directory,
  meshOf,
}) => {
  const old = await meshOf({
    nodes: 1,
    handles: ["echo=cat", "bad=exit 1", "busy=exit 75", counting()],
  });
  const before = await aBusyMesh(old);
  const backup = await directory();

  old.kill("nats-server", "SIGTERM");
  await expect.poll(() => isAlive(old.pid("nats-server")), { timeout: 10_000 }).toBe(false);
  await cp(join(old.dir, "jetstream"), join(backup, "jetstream"), { recursive: true });
  await cp(join(old.dir, "keys"), join(backup, "keys"), { recursive: true });
  old.startServer();
  // Whoever makes the backup is not in the way: the mesh goes on.
  await countsOn(old, before);

  await old.stop();
  await goesOn(before, backup, meshOf);
});

interface Before {
  /** A task that had ended, as its record was. */
  readonly done: TaskRecord;
  /** A task that ran, and how far it had saved that it came. */
  readonly counting: string;
  readonly reached: number;
  /** A task whose next try was due later. */
  readonly retrying: string;
  /** Tasks that nobody could take. */
  readonly waiting: readonly string[];
}

/** A mesh with tasks in every state that a task can be in. */
async function aBusyMesh(mesh: Mesh): Promise<Before> {
  await submit(mesh, "echo", '"done"', "--id", "done");
  await submit(mesh, "bad", "1", "--id", "dead", "--max-attempts", "1");
  await submit(mesh, "busy", "1", "--id", "again", "--backoff", "fixed:4s", "--max-attempts", "20");
  const client = await mesh.connect("client");
  const waiting = Array.from({ length: WAITING }, (_, index) => `waiting-${index}`);
  for (const id of waiting) {
    const named = headers();
    named.set("Nats-Msg-Id", id);
    await client.request("mesh.tasks.submit.later", `"${id}"`, { headers: named, timeout: 5_000 });
  }
  await submit(mesh, "count", '{"n":100,"everyMs":100}', "--id", "counting");
  const done = await mesh.waitFor("done", ({ status }) => status === "succeeded");
  await mesh.waitFor("dead", ({ status }) => status === "failed");
  await mesh.waitFor("again", ({ status }) => status === "retrying");
  const counting = await mesh.waitFor("counting", ({ progress }) => reached(progress) >= 5);
  return {
    done,
    counting: "counting",
    reached: reached(counting.progress),
    retrying: "again",
    waiting,
  };
}

/** The old mesh goes on by itself: nobody had to do anything for it. */
async function countsOn(mesh: Mesh, before: Before): Promise<void> {
  const progress = async (): Promise<number> => {
    const { stdout } = await mesh.swarmctl("task", "get", before.counting, "-o", "json");
    return stdout === "" ? 0 : reached(JSON.parse(stdout).progress);
  };
  await expect.poll(progress, { timeout: 20_000 }).toBeGreaterThan(before.reached);
}

/** Starts a mesh on what was restored into `dir`, and sees that everything is there and goes on. */
async function goesOn(before: Before, dir: string, meshOf: typeof Mesh.start): Promise<void> {
  const handles = ["echo=cat", "later=cat", "busy=echo 1", counting()];
  const mesh = await meshOf({ dir, nodes: 2, handles });
  expect(await mesh.record(before.done.id)).toEqual(before.done);
  const dead = await mesh.swarmctl("dead", "list", "-o", "json");
  expect(JSON.parse(dead.stdout)).toMatchObject({ dead: [{ task: "dead" }] });

  for (const id of before.waiting) {
    const record = await mesh.waitFor(id, ({ status }) => status === "succeeded");
    expect(record).toMatchObject({ result: id, attempt: 1 });
    // The store goes on counting where it was, so whoever led then is refused now.
    expect(record.epoch).toBeGreaterThan(before.done.epoch);
  }
  const retried = await mesh.waitFor(before.retrying, ({ status }) => status === "succeeded");
  expect(retried.result).toBe(1);
  const counted = await mesh.waitFor(before.counting, ({ status }) => status === "succeeded");
  expect(counted.migrations).toMatchObject([{ from: "n1" }]);
  const { starts } = counted.result as { readonly starts: readonly number[] };
  expect(starts, "begun once, and once more from its checkpoint").toHaveLength(2);
  expect(starts[1]).toBeGreaterThan(before.reached);
}

async function submit(mesh: Mesh, ...args: readonly string[]): Promise<void> {
  expect(await mesh.swarmctl("task", "submit", ...args)).toMatchObject({ status: 0 });
}

function counting(): string {
  return `count=module:${COUNT}`;
}

function reached(progress: unknown): number {
  return (progress as { readonly reached?: number } | null)?.reached ?? 0;
}
