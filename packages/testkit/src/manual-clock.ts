import { setImmediate as turn } from "node:timers/promises";

interface Sleeper {
  readonly wakeAtMs: number;
  readonly wake: () => void;
}

/** A clock that moves only when told to. Structurally the runtime package's `Clock`. */
export class ManualClock {
  #elapsedMs = 0;
  #sleepers: Sleeper[] = [];

  now(): number {
    return 1_700_000_000_000 + this.#elapsedMs;
  }

  elapsed(): number {
    return this.#elapsedMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      this.#sleepers.push({ wakeAtMs: this.#elapsedMs + ms, wake: resolve });
      signal?.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  /**
   * Moves time forward and wakes everyone whose sleep is over, earliest first. Lets the code under
   * test come to rest both before, so that it is asleep when time moves, and after.
   */
  async advance(ms: number): Promise<void> {
    await turn();
    this.#elapsedMs += ms;
    const due = this.#sleepers.filter((sleeper) => sleeper.wakeAtMs <= this.#elapsedMs);
    this.#sleepers = this.#sleepers.filter((sleeper) => sleeper.wakeAtMs > this.#elapsedMs);
    for (const sleeper of due.sort((a, b) => a.wakeAtMs - b.wakeAtMs)) sleeper.wake();
    await turn();
  }
}
