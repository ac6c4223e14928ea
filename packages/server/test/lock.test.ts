import { mkdir, mkdtemp, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@swarm-mesh/runtime";
import { test as base, expect } from "vitest";
import { withLock } from "../src/lock.ts";

const HOUR_MS = 3_600_000;
/** No process has this id: it is above the largest that Linux gives. */
const NOBODY = 2 ** 30;

const test = base.extend<{ lock: string }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest finds a fixture's needs in this pattern.
  lock: async ({}, use) => {
    const dir = await mkdtemp(join(tmpdir(), "lock-"));
    await use(join(dir, "lock"));
    await rm(dir, { recursive: true, force: true });
  },
});

const options = { clock: systemClock };

test("lets one in at a time, and the next when it failed", async ({ lock }) => {
  let inside = 0;
  const work = async (): Promise<number> => {
    inside++;
    await systemClock.sleep(20);
    return inside--;
  };
  const fail = async (): Promise<number> => {
    throw new Error("failed");
  };

  const results = await Promise.allSettled([
    withLock(lock, options, fail),
    withLock(lock, options, work),
    withLock(lock, options, work),
  ]);

  expect(results.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "fulfilled"]);
  expect(results.slice(1)).toMatchObject([{ value: 1 }, { value: 1 }]);
  await expect(stat(lock)).rejects.toThrow(/ENOENT/);
});

test.each([
  ["of a process that died", `${NOBODY} ${hostname()}\n`, 0],
  ["of another machine, long ago", "1 elsewhere\n", HOUR_MS],
  ["of nobody, long ago", "", HOUR_MS],
])("breaks a lock %s", async (_, owner, ageMs) => {
  const dir = await mkdtemp(join(tmpdir(), "lock-"));
  const lock = join(dir, "lock");
  await holdLock(lock, owner, ageMs);

  expect(await withLock(lock, options, async () => "in")).toBe("in");
  await rm(dir, { recursive: true, force: true });
});

test.each([
  ["of a living process", `${process.pid} ${hostname()}\n`, HOUR_MS],
  ["of another user's living process", `1 ${hostname()}\n`, HOUR_MS],
  ["of another machine, just now", "1 elsewhere\n", 0],
  ["that was just made", "", 0],
])("respects a lock %s, until told to give up", async (_, owner, ageMs) => {
  const dir = await mkdtemp(join(tmpdir(), "lock-"));
  const lock = join(dir, "lock");
  await holdLock(lock, owner, ageMs);

  await expect(
    withLock(lock, { ...options, signal: AbortSignal.timeout(30) }, async () => "in"),
  ).rejects.toThrow(/timeout/);
  await rm(dir, { recursive: true, force: true });
});

async function holdLock(lock: string, owner: string, ageMs: number): Promise<void> {
  await mkdir(lock);
  if (owner !== "") await writeFile(join(lock, "owner"), owner);
  const at = new Date(Date.now() - ageMs);
  await utimes(lock, at, at);
}
