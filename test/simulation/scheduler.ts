/**
 * Virtual time: a heap of events, and dice that fall the same way for the same seed.
 *
 * Nothing here is real: no timer runs, no wall clock is read. Between two events every promise that
 * can go on has gone on, so a run is a function of its seed.
 */

/** Something that happens at a time of its own. */
export interface SimEvent {
  readonly at: number;
  readonly serial: number;
  /** `undefined`: it was called off. */
  run: (() => void) | undefined;
}

export class Scheduler {
  /** True time, in milliseconds from the start of the run; no process can read it. */
  now = 0;
  /** Events that have run. */
  count = 0;
  readonly #heap: SimEvent[] = [];
  #immediates: (() => void)[] = [];
  #serial = 0;

  /** Runs `run` after `ms`. Events of one moment run in the order in which they were made. */
  after(ms: number, run: () => void): SimEvent {
    const event: SimEvent = { at: this.now + Math.max(0, ms), serial: this.#serial++, run };
    push(this.#heap, event);
    return event;
  }

  /** Calls an event off; one that has run, or was called off before, is not changed by it. */
  cancel(event: SimEvent | undefined): void {
    if (event !== undefined) event.run = undefined;
  }

  /** Runs events until `untilMs`, until none is left, or until `over` says so after one of them. */
  async run(untilMs: number, over: () => boolean): Promise<void> {
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || next.at > untilMs) break;
      pop(this.#heap);
      const { run } = next;
      if (run === undefined) continue;
      next.run = undefined;
      this.now = next.at;
      this.count++;
      run();
      await this.#drained();
      if (over()) return;
    }
    this.now = Math.max(this.now, untilMs);
  }

  /** Stands in for the global `setImmediate` while a run lasts: behind all promises of the moment. */
  readonly immediate = (run: () => void): void => {
    this.#immediates.push(run);
  };

  /** Resolves when nothing of this moment can go on: ticks are run behind all promises. */
  async #drained(): Promise<void> {
    await new Promise<void>((resolve) => process.nextTick(resolve));
    while (this.#immediates.length > 0) {
      for (const run of this.#immediates.splice(0)) run();
      await new Promise<void>((resolve) => process.nextTick(resolve));
    }
  }
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.at < b.at || (a.at === b.at && a.serial < b.serial);
}

function push(heap: SimEvent[], event: SimEvent): void {
  let at = heap.length;
  heap.push(event);
  while (at > 0) {
    const above = (at - 1) >> 1;
    const other = heap[above];
    if (other === undefined || !isBefore(event, other)) break;
    heap[at] = other;
    at = above;
  }
  heap[at] = event;
}

function pop(heap: SimEvent[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let at = 0;
  for (;;) {
    let below = 2 * at + 1;
    const left = heap[below];
    if (left === undefined) break;
    const right = heap[below + 1];
    const smaller = right !== undefined && isBefore(right, left) ? right : left;
    if (smaller === right) below++;
    if (!isBefore(smaller, last)) break;
    heap[at] = smaller;
    at = below;
  }
  heap[at] = last;
}

/** Chance, from a seed. Each part of the run has dice of its own, so that parts do not disturb each other. */
export class Dice {
  #state: number;

  /** `salt`: which of the dice of this seed. */
  constructor(seed: number, salt: number) {
    this.#state = (Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(salt + 1, 0x85ebca6b)) >>> 0;
    for (let turn = 0; turn < 4; turn++) this.next();
  }

  /** From 0 up to 1: the generator mulberry32. */
  readonly next = (): number => {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };

  between(least: number, most: number): number {
    return least + this.next() * (most - least);
  }

  /** A whole number, both ends possible. */
  int(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  chance(share: number): boolean {
    return share > 0 && this.next() < share;
  }

  /** One of several; there must be one. */
  pick<T>(all: readonly T[]): T {
    const one = all[Math.floor(this.next() * all.length)];
    if (one === undefined) throw new RangeError("nothing to pick from");
    return one;
  }
}
