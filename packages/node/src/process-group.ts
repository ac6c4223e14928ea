/**
 * Process groups of programs, so that none outlives its task, and none this process.
 *
 * Each program leads a group of its own. Beside it, in the same group, sits a watcher that reads a
 * pipe from us: when this process dies, even by `kill -9`, the pipe ends and the watcher kills the
 * group, before the control plane can have placed the task elsewhere. What leaves the group on
 * purpose (`setsid`) is out of reach.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { rmSync } from "node:fs";

/** `$1` is the command; the watcher's pipe is descriptor 3 and closed for the command itself. */
const WATCHED = [
  "(trap '' HUP INT TERM; read -r _ <&3; kill -KILL 0) </dev/null >/dev/null 2>&1 &",
  'exec 3<&-; exec sh -c "$1"',
].join("\n");

const groups = new Set<number>();
const directories = new Set<string>();
let watching = false;

/** Starts `command` as the leader of a new process group. Errors come as events, as with `spawn`. */
export function spawnGroup(command: string, env: NodeJS.ProcessEnv): ChildProcess {
  watchExit();
  const child = spawn("sh", ["-c", WATCHED, "sh", command], {
    detached: true,
    env,
    stdio: ["pipe", "pipe", "pipe", "pipe"],
  });
  // Without a listener a watcher killed with its group would surface as an uncaught error.
  child.stdio[3]?.on("error", () => undefined);
  const { pid } = child;
  if (pid !== undefined) groups.add(pid);
  return child;
}

/** Signals every process of the child's group that is left. */
export function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid !== undefined && groups.has(child.pid)) signalGroup(child.pid, signal);
}

/** Kills what is left of the group and forgets it: its number may be given to another. */
export function endGroup(child: ChildProcess): void {
  killGroup(child, "SIGKILL");
  if (child.pid !== undefined) groups.delete(child.pid);
  child.stdio[3]?.destroy();
}

/** Has `directory` removed when this process exits before the task is over. */
export function keepDirectory(directory: string): void {
  watchExit();
  directories.add(directory);
}

/** The directory is gone, or its owner's to remove. */
export function forgetDirectory(directory: string): void {
  directories.delete(directory);
}

function watchExit(): void {
  if (watching) return;
  watching = true;
  process.on("exit", () => {
    for (const pid of groups) signalGroup(pid, "SIGKILL");
    for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  });
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // The group is gone already.
  }
}
