/** Waiting for what only a look can tell. */
import { systemClock } from "@swarm-mesh/runtime";

const POLL_MS = 20;
/** Longer than anything here takes on a slow machine. */
const WAIT_MAX_MS = 180_000;

/** Looks until `isSo` says yes. Rejects when that takes too long, or `signal` aborts. */
export async function until(
  isSo: () => boolean | Promise<boolean>,
  signal: AbortSignal,
): Promise<void> {
  const deadline = systemClock.elapsed() + WAIT_MAX_MS;
  while (!(await isSo())) {
    signal.throwIfAborted();
    if (systemClock.elapsed() > deadline) throw new Error(`not so within ${WAIT_MAX_MS} ms`);
    await systemClock.sleep(POLL_MS, signal);
  }
}
