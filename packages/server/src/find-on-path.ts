import { access, constants } from "node:fs/promises";
import { delimiter, resolve } from "node:path";
import { type Attempt, problemOf } from "./errors.ts";
import { executableName, type Machine } from "./machine.ts";
import { judgeVersion, versionOf } from "./version.ts";

/** A binary found on this machine; `warning` when it is usable but old. */
export interface Found {
  readonly path: string;
  readonly version: string;
  readonly warning?: string;
}

/** The first usable nats-server on `PATH` and in the usual directories, and what was refused. */
export async function findOnPath(
  machine: Machine,
): Promise<{ readonly found?: Found; readonly tried: readonly Attempt[] }> {
  const tried: Attempt[] = [];
  const onPath = (machine.env["PATH"] ?? "").split(delimiter).filter((dir) => dir !== "");
  for (const dir of new Set([...onPath, ...machine.extraDirs])) {
    const path = resolve(dir, executableName(machine));
    if (!(await isExecutable(path))) continue;
    try {
      return { found: await examine(path), tried };
    } catch (error) {
      tried.push({ source: "PATH", problem: `${path}: ${problemOf(error)}` });
    }
  }
  if (tried.length === 0) tried.push({ source: "PATH", problem: "no nats-server there" });
  return { tried };
}

/** The binary at `path` with its version. Rejects when it does not run or is too old. */
export async function examine(path: string): Promise<Found> {
  const version = await versionOf(path);
  const verdict = judgeVersion(version);
  if (verdict.kind === "refuse") throw new Error(verdict.problem);
  return verdict.kind === "warn" ? { path, version, warning: verdict.problem } : { path, version };
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    // Missing or not ours to run: either way it is not a candidate.
    return false;
  }
}
