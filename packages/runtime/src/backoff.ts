import type { Clock } from "./clock.ts";
import type { Random } from "./random.ts";

/**
 * How long to wait before try after try.
 *
 * The wait before try `n + 1` is drawn from the upper half of `min(baseMs * 2^(n-1), maxMs)`:
 * enough jitter to part those who failed together, never so little wait that it is none.
 */
export interface BackoffPolicy {
  readonly baseMs: number;
  readonly maxMs: number;
}

/** 50, 100, 200 … 2 000 ms: for a request to a service that is changing its leader. */
export const REQUEST_BACKOFF: BackoffPolicy = { baseMs: 50, maxMs: 2_000 };
/** 200, 400 … 5 000 ms: for a loop that failed and is started again. */
export const LOOP_BACKOFF: BackoffPolicy = { baseMs: 200, maxMs: 5_000 };

/** The wait after `failures` failures in a row (from 1), in milliseconds. */
export function backoffMs(policy: BackoffPolicy, failures: number, random: Random): number {
  const full = Math.min(policy.baseMs * 2 ** Math.min(failures - 1, 30), policy.maxMs);
  return Math.round(full / 2 + (full / 2) * random());
}

export interface RetryOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly policy: BackoffPolicy;
  readonly signal: AbortSignal;
  /** Is this failure worth another try? */
  readonly retryable: (error: unknown) => boolean;
  /** Tries in all; without it only `signal` ends the trying. */
  readonly tries?: number;
}

/** Runs `attempt` until it succeeds, fails for good, runs out of tries, or `signal` aborts. */
export async function retry<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { clock, policy, random, signal } = options;
  for (let failures = 1; ; failures++) {
    try {
      return await attempt();
    } catch (error) {
      const last = failures >= (options.tries ?? Number.POSITIVE_INFINITY);
      if (last || signal.aborted || !options.retryable(error)) throw error;
      await clock.sleep(backoffMs(policy, failures, random), signal);
      if (signal.aborted) throw error;
    }
  }
}

export interface HedgeOptions {
  readonly clock: Clock;
  /** How long there is no word before another try is begun, in milliseconds. */
  readonly everyMs: number;
}

/**
 * What the first of several tries comes to: another is begun after each `everyMs` in which none has
 * ended. For a question that may be asked twice, of those who say nothing when they cannot answer yet: it
 * is answered soon after they can, and a slow answer counts all the same. Each try has to end by itself.
 */
export function hedged<T>(attempt: () => Promise<T>, options: HedgeOptions): Promise<T> {
  const { clock, everyMs } = options;
  const over = new AbortController();
  return new Promise((resolve, reject) => {
    const begin = async (): Promise<void> => {
      while (!over.signal.aborted) {
        attempt()
          .then(resolve, reject)
          .finally(() => over.abort());
        await clock.sleep(everyMs, over.signal);
      }
    };
    void begin();
  });
}
