/** Waiting for what only a look can tell. */
import { systemClock } from "@swarm-mesh/runtime";

const POLL_MS = 20;
/** Longer than anything here takes on a slow machine. */
const WAIT_MAX_MS = 90_000;

/** Looks until `isSo` says yes. Rejects with `what` when that takes too long, or `signal` aborts. */
export async function until(
  what: string,
  isSo: () => boolean | Promise<boolean>,
  signal: AbortSignal,
): Promise<void> {
  const deadline = systemClock.elapsed() + WAIT_MAX_MS;
  while (!(await isSo())) {
    signal.throwIfAborted();
    if (systemClock.elapsed() > deadline)
      throw new Error(`${what}: not so after ${WAIT_MAX_MS / 1_000} s`);
    await systemClock.sleep(POLL_MS, signal);
  }
}
