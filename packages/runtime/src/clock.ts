import { setTimeout as sleep } from "node:timers/promises";

/** Time, as a dependency: {@link systemClock} in production, one turned by hand in tests. */
export interface Clock {
  /** Wall clock, milliseconds since the epoch. For records people read, never to measure. */
  now(): number;
  /** Monotonic clock, milliseconds since some fixed point. For every deadline and duration. */
  elapsed(): number;
  /** Resolves after `ms`, or as soon as `signal` aborts. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  sleep: async (ms, signal) => {
    // A sleep that is cut short is an answer, not a failure.
    await sleep(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
  },
};

/** `clock`'s wall time as it is written into records: ISO 8601, UTC. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

/** Milliseconds since the epoch of an ISO 8601 time; `NaN` when it is none. */
export function timeOf(iso: string): number {
  return Date.parse(iso);
}
