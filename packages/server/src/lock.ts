/**
 * One process at a time, by a directory that only one can make.
 *
 * The lock saves work (two parallel downloads), it does not make anything correct: what it guards
 * is put in place by an atomic rename. So a lock whose holder died may be broken without ceremony.
 */
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import type { Clock } from "@swarm-mesh/runtime";

const RETRY_MS = 50;
/** A holder on another machine is believed this long; building nats-server takes about 2 minutes. */
const FOREIGN_HOLDER_MAX_AGE_MS = 15 * 60_000;
/** A lock without an owner is one whose maker died between two system calls, or just now. */
const UNOWNED_MAX_AGE_MS = 5_000;

/** Runs `work` while holding the lock at `path`. Waits for as long as a living process holds it. */
export async function withLock<T>(
  path: string,
  { clock, signal }: { readonly clock: Clock; readonly signal?: AbortSignal | undefined },
  work: () => Promise<T>,
): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  while (!(await tryMake(path))) {
    signal?.throwIfAborted();
    if (await isStale(path, clock)) await breakLock(path);
    else await clock.sleep(RETRY_MS, signal);
  }
  try {
    await writeFile(join(path, "owner"), `${process.pid} ${hostname()}\n`);
    return await work();
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

async function tryMake(path: string): Promise<boolean> {
  try {
    await mkdir(path);
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  }
}

async function isStale(path: string, clock: Clock): Promise<boolean> {
  try {
    const ageMs = clock.now() - (await stat(path)).mtimeMs;
    const owner = await readFile(join(path, "owner"), "utf8").catch(() => "");
    const [pid, host] = owner.trim().split(" ");
    if (pid === undefined || host === undefined) return ageMs > UNOWNED_MAX_AGE_MS;
    return host === hostname() ? !isAlive(Number(pid)) : ageMs > FOREIGN_HOLDER_MAX_AGE_MS;
  } catch (error) {
    // Released between our attempt and this look: the next attempt gets it.
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}

/** Renamed first, so that of two who found it stale only one removes it. */
async function breakLock(path: string): Promise<void> {
  const aside = `${path}.stale-${process.pid}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
  await rm(aside, { recursive: true, force: true });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: somebody else's process, and alive.
    return hasCode(error, "EPERM");
  }
}

/** Whether `error` is a system error with this code. */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
