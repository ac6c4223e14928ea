/** Doing something at most so often a second. */
import { type Clock, systemClock } from "@swarm-mesh/runtime";

/**
 * Lets callers through one after the other, `perSecond` of them a second from the first on.
 * `undefined`: at once. Time nobody used is not saved up.
 */
export class Pace {
  readonly #clock: Clock;
  readonly #everyMs: number;
  #nextMs = Number.NEGATIVE_INFINITY;

  constructor(perSecond: number | undefined, clock: Clock = systemClock) {
    this.#clock = clock;
    this.#everyMs = perSecond === undefined ? 0 : 1_000 / perSecond;
  }

  /** Resolves when it is the caller's turn, or `signal` aborts. */
  async turn(signal?: AbortSignal): Promise<void> {
    if (this.#everyMs === 0) return;
    const now = this.#clock.elapsed();
    const at = Math.max(now, this.#nextMs);
    this.#nextMs = at + this.#everyMs;
    if (at > now) await this.#clock.sleep(at - now, signal);
  }
}
