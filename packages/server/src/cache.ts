/**
 * The binaries we fetched: `<cache>/<version>/nats-server`, with its SHA-256 beside it.
 *
 * The checksum is re-checked on each use, which finds a truncated or replaced file (hashing 15 MB
 * takes about 10 ms). It does not protect from somebody who may write in the cache: who can change
 * the binary can change the checksum.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Attempt } from "./errors.ts";
import { hasCode } from "./lock.ts";
import { cacheDir, executableName, type Machine } from "./machine.ts";
import { compareVersions, judgeVersion, parseVersion } from "./version.ts";

export interface Cached {
  readonly path: string;
  readonly version: string;
}

/** The newest usable binary in the cache, and what was refused on the way to it. */
export async function findCached(
  machine: Machine,
): Promise<{ readonly found?: Cached; readonly tried: readonly Attempt[] }> {
  const tried: Attempt[] = [];
  for (const version of await versionsIn(cacheDir(machine))) {
    const path = join(cacheDir(machine), version, executableName(machine));
    const verdict = judgeVersion(version);
    const problem = verdict.kind === "refuse" ? verdict.problem : await problemWith(path);
    if (problem === undefined) return { found: { path, version }, tried };
    tried.push({ source: "cache", problem });
  }
  return { tried };
}

/**
 * Moves the executable at `from` into the cache, complete with its checksum, in one rename. What
 * the cache held of that version is replaced.
 */
export async function adopt(machine: Machine, from: string, version: string): Promise<Cached> {
  const cache = cacheDir(machine);
  const target = join(cache, version);
  const name = executableName(machine);
  const incoming = await mkdtemp(join(cache, ".incoming-"));
  try {
    await copyFile(from, join(incoming, name));
    await chmod(join(incoming, name), 0o755);
    await chmod(incoming, 0o755);
    const sha256 = await sha256Of(join(incoming, name));
    await writeFile(join(incoming, `${name}.sha256`), `${sha256}  ${name}\n`);
    // A directory with files in it cannot be renamed over.
    await rm(target, { recursive: true, force: true });
    await rename(incoming, target);
  } finally {
    await rm(incoming, { recursive: true, force: true });
  }
  return { path: join(target, name), version };
}

/** A private directory inside the cache, removed when `work` ends: the same disk, so renames work. */
export async function withWorkDir<T>(
  machine: Machine,
  work: (dir: string) => Promise<T>,
): Promise<T> {
  await mkdir(cacheDir(machine), { recursive: true });
  const dir = await mkdtemp(join(cacheDir(machine), ".work-"));
  try {
    return await work(dir);
  } finally {
    await removeTree(dir);
  }
}

/** SHA-256 of a file, in hexadecimal. */
export async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest("hex");
}

/** Go leaves its module cache read-only: directories must be writable before they can be emptied. */
async function removeTree(dir: string): Promise<void> {
  try {
    await rm(dir, { recursive: true, force: true });
  } catch (error) {
    if (!hasCode(error, "EACCES")) throw error;
    for (const entry of await readdir(dir, { withFileTypes: true, recursive: true })) {
      if (entry.isDirectory()) await chmod(join(entry.parentPath, entry.name), 0o700);
    }
    await rm(dir, { recursive: true, force: true });
  }
}

/** Version directories, newest first. */
async function versionsIn(cache: string): Promise<string[]> {
  try {
    const names = await readdir(cache);
    return names
      .filter((name) => parseVersion(name) === name)
      .sort((left, right) => compareVersions(right, left));
  } catch (error) {
    if (hasCode(error, "ENOENT")) return [];
    throw error;
  }
}

async function problemWith(path: string): Promise<string | undefined> {
  try {
    const recorded = (await readFile(`${path}.sha256`, "utf8")).slice(0, 64);
    if ((await sha256Of(path)) === recorded) return undefined;
    return `${path} is not what its checksum says; it will not be used`;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return `${path} or its checksum is missing`;
    throw error;
  }
}
