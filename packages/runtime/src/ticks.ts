import type { Clock } from "./clock.ts";
import { within } from "./latch.ts";

/** Asks a {@link ticks} loop to run again soon. Any number of calls between two ticks count as one. */
export class Wakeup {
  #rung = false;
  #listener: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#listener?.();
  }

  /** Resolves at once when already rung, otherwise at the next ring or when `signal` aborts. */
  wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (this.#rung || signal.aborted) return resolve();
      const done = (): void => {
        this.#listener = undefined;
        signal.removeEventListener("abort", done);
        resolve();
      };
      this.#listener = done;
      signal.addEventListener("abort", done, { once: true });
    });
  }

  clear(): void {
    this.#rung = false;
  }
}

export interface TicksOptions {
  readonly clock: Clock;
  /** The longest time between two ticks, in milliseconds. */
  readonly everyMs: number;
  /** Brings the next tick forward. A missed ring costs latency, never correctness. */
  readonly wakeup?: Wakeup;
  readonly signal: AbortSignal;
}

/** Yields at once, then every `everyMs` or sooner when rung, until `signal` aborts. */
export async function* ticks(options: TicksOptions): AsyncGenerator<void, void, undefined> {
  const { clock, everyMs, signal } = options;
  const wakeup = options.wakeup ?? new Wakeup();
  while (!signal.aborted) {
    wakeup.clear();
    yield;
    await within(signal, (inner) =>
      Promise.race([clock.sleep(everyMs, inner), wakeup.wait(inner)]),
    );
  }
}
