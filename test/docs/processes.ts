/** What runs on this machine that a test started. */
import { readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

const GONE_TIMEOUT_MS = 30_000;

/** Waits until no process has `mark` in its environment; kills and returns what would not end. */
export async function endOfAll(mark: string): Promise<readonly string[]> {
  const deadline = performance.now() + GONE_TIMEOUT_MS;
  for (;;) {
    const left = await processesOf(mark);
    if (left.length === 0) return [];
    if (performance.now() > deadline) {
      for (const { pid } of left) process.kill(pid, "SIGKILL");
      return left.map(({ pid, command }) => `${pid} ${command}`);
    }
    await sleep(50);
  }
}

interface Running {
  readonly pid: number;
  readonly command: string;
}

async function processesOf(mark: string): Promise<readonly Running[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  return pids.flatMap((pid) => {
    try {
      const environ = readFileSync(`/proc/${pid}/environ`, "utf8");
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      return environ.includes(mark) && command !== "" ? [{ pid, command }] : [];
    } catch {
      // Ended meanwhile, or not ours to look at.
      return [];
    }
  });
}
