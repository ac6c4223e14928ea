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
  // Not the promise of node:timers: browsers have no such module.
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted === true) return resolve();
      // A sleep that is cut short is an answer, not a failure.
      const end = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      signal?.addEventListener("abort", end, { once: true });
    }),
};

let lastSecond = Number.NaN;
let lastSecondText = "";

/**
 * `clock`'s wall time as it is written into records: ISO 8601, UTC. A busy coordinator writes
 * thousands of times a second; all but the milliseconds is put together once for each.
 */
export function isoTime(ms: number): string {
  const second = Math.floor(ms / 1_000);
  if (second !== lastSecond) {
    // Throws at what is no time, before anything is kept.
    lastSecondText = new Date(second * 1_000).toISOString().slice(0, -"000Z".length);
    lastSecond = second;
  }
  return `${lastSecondText}${String(Math.floor(ms - second * 1_000)).padStart(3, "0")}Z`;
}

/** Milliseconds since the epoch of an ISO 8601 time; `NaN` when it is none. */
export function timeOf(iso: string): number {
  return Date.parse(iso);
}

/** The same time as libraries want it. */
export function dateOf(ms: number): Date {
  return new Date(ms);
}
