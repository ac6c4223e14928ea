/** What a process has to do with the one that started it: `swarmctl dev`, or a test. */
import { closeSync, openSync } from "node:fs";
import { devNull } from "node:os";
import { systemClock } from "@swarm-mesh/runtime";

/** What a child says over the channel that `dev` gave it. */
export type ChildMessage = "ready";

/** How long an orphan may take to end politely: nobody is left who would make it. */
const ORPHAN_MAX_MS = 3_000;

/** Ends this process when the one that started it is gone, however that ended. */
export function stopWithParent(): void {
  if (process.send === undefined) return;
  process.once("disconnect", () => {
    printToNobody();
    void systemClock.sleep(ORPHAN_MAX_MS).then(() => process.exit(1));
    process.kill(process.pid, "SIGTERM");
  });
  // The listener alone would keep a process alive that has nothing left to do.
  process.channel?.unref();
}

/**
 * With the parent went the reader of what we print. The logger's last flush retries a broken pipe
 * for ever, with the whole process asleep (seen), so there must be none.
 */
function printToNobody(): void {
  if (process.platform === "win32") return;
  for (const fd of [1, 2]) {
    closeSync(fd);
    // The lowest free number is given out: the one just closed.
    openSync(devNull, "w");
  }
}

/** Says something to the process that started this one, if it listens. */
export function tellParent(message: ChildMessage): void {
  // A parent that is gone is noticed by `stopWithParent`.
  process.send?.(message, undefined, {}, () => undefined);
}
