/** What an earlier dev mesh left in the directory, when it was killed rather than stopped. */
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { systemClock } from "@swarm-mesh/runtime";
import { CliError, Exit } from "../exit.ts";
import { readDevFile, removeDevFile, SERVER_KIND } from "./dev-file.ts";

const END_TIMEOUT_MS = 5_000;
const END_POLL_MS = 20;

/**
 * Makes room for a new mesh in `dir`: removes a stale `dev.json` and ends the nats-server it names.
 * (Services and nodes end by themselves when their parent is gone; the server cannot notice.)
 * Throws when a mesh still runs there.
 */
export async function clearLeftovers(dir: string): Promise<void> {
  const file = readDevFile(dir);
  if (file?.pid !== undefined && file.pid !== process.pid && isSwarmctl(file.pid)) {
    throw new CliError(
      Exit.conflict,
      "conflict",
      `a dev mesh already runs in ${dir} (pid ${file.pid}, ${file.url}); stop it, or choose another --dir`,
    );
  }
  for (const { kind, pid } of file?.processes ?? []) {
    if (kind === SERVER_KIND && commandOf(pid).some((arg) => isConfOf(dir, arg))) await end(pid);
  }
  removeDevFile(dir);
}

function isConfOf(dir: string, arg: string): boolean {
  return arg.endsWith(".conf") && dirname(arg) === dir;
}

/** A pid may long be another program's: only the command line tells. */
function isSwarmctl(pid: number): boolean {
  return commandOf(pid).some((arg) => arg.includes("swarmctl"));
}

/** Empty when there is no such process, or the system does not tell. */
function commandOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    // Gone, or not Linux: then it is left alone, and a taken port is reported as such.
    return [];
  }
}

async function end(pid: number): Promise<void> {
  const deadline = systemClock.elapsed() + END_TIMEOUT_MS;
  process.kill(pid, "SIGTERM");
  while (commandOf(pid).length > 1 && systemClock.elapsed() < deadline) {
    await systemClock.sleep(END_POLL_MS);
  }
}
