/** The load itself, the same for every peer: how tasks are offered, and what is noted of each. */
import { systemClock } from "@swarm-mesh/runtime";

/** What a client is told to do. */
export type LoadOrder =
  /** As fast as the peer allows, with so many submits waiting for their result. */
  | {
      readonly kind: "closed";
      readonly tasks: number;
      readonly concurrency: number;
      readonly payloadBytes: number;
    }
  /** By the clock, whatever the peer does. */
  | {
      readonly kind: "open";
      readonly tasks: number;
      readonly ratePerSecond: number;
      readonly payloadBytes: number;
    };

/** What came of it. */
export interface LoadResult {
  /** From the first submit to the last result. */
  readonly elapsedMs: number;
  /** Submit to result, one a task, in the order of the submits. */
  readonly latenciesMs: readonly number[];
}

/**
 * A timer comes up to this late on an idle machine, for every peer alike. A submit that is later was
 * held up by the client's own work, and is counted from when it was due.
 */
const TIMER_SLACK_MS = 2;

/** Runs `order`; `once` submits a task and resolves with its result. Rejects with its first failure. */
export function runLoad(order: LoadOrder, once: () => Promise<unknown>): Promise<LoadResult> {
  return order.kind === "closed"
    ? closedLoop(order.tasks, order.concurrency, once)
    : openLoop(order.tasks, order.ratePerSecond, once);
}

async function closedLoop(
  tasks: number,
  concurrency: number,
  once: () => Promise<unknown>,
): Promise<LoadResult> {
  const latenciesMs: number[] = new Array(tasks).fill(0);
  const startedAt = systemClock.elapsed();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < tasks) {
      const index = next++;
      const sentAt = systemClock.elapsed();
      await once();
      latenciesMs[index] = systemClock.elapsed() - sentAt;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
  return { elapsedMs: systemClock.elapsed() - startedAt, latenciesMs };
}

async function openLoop(
  tasks: number,
  ratePerSecond: number,
  once: () => Promise<unknown>,
): Promise<LoadResult> {
  const latenciesMs: number[] = new Array(tasks).fill(0);
  const intervalMs = 1_000 / ratePerSecond;
  const startedAt = systemClock.elapsed();
  const pending: Promise<void>[] = [];
  for (let index = 0; index < tasks; index++) {
    const dueAt = startedAt + index * intervalMs;
    const waitMs = dueAt - systemClock.elapsed();
    if (waitMs > 0) await systemClock.sleep(waitMs);
    const now = systemClock.elapsed();
    const countedFrom = now - dueAt > TIMER_SLACK_MS ? dueAt : now;
    const settled = once().then(() => {
      latenciesMs[index] = systemClock.elapsed() - countedFrom;
    });
    // A failure is thrown below; until then it is nobody's.
    settled.catch(() => undefined);
    pending.push(settled);
  }
  await Promise.all(pending);
  return { elapsedMs: systemClock.elapsed() - startedAt, latenciesMs };
}

/** A payload whose JSON has `bytes` bytes, 16 at least. */
export function payloadOf(bytes: number): { readonly pad: string } {
  return { pad: "x".repeat(Math.max(0, bytes - JSON.stringify({ pad: "" }).length)) };
}
