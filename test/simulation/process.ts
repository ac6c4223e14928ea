/**
 * A process: what may be killed, started again and frozen.
 *
 * Whatever it set going ends with it: its timers and messages find another life and are dropped, and
 * a promise it waited for is never settled. A frozen process handles nothing; when it thaws, what
 * came meanwhile is handled with the beliefs of before.
 */
import { setMaxListeners } from "node:events";
import type { Clock } from "@swarm-mesh/runtime";
import type { Dice, Scheduler, SimEvent } from "./scheduler.ts";

/** The wall clock's reading at the start of a run: 2027, as an example. */
export const EPOCH_MS = Date.UTC(2027, 0, 1);

export interface ProcessOptions {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly dice: Dice;
  /** The most by which a timer is late, in milliseconds. */
  readonly timerLateMs: number;
  /** Starts what the process runs; called at each start. */
  readonly main: (self: Process) => void;
}

export class Process {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly clock: Clock;
  alive = false;
  frozen = false;
  /** How far the wall clock of its machine is off, in milliseconds. */
  wallOffMs = 0;
  /** Starts so far. */
  starts = 0;
  /**
   * For whoever must be given a signal: it never aborts, because whatever waits for it is ended by the
   * death of the process.
   */
  signal: AbortSignal = new AbortController().signal;
  /** When it was last dead or frozen, in true time. */
  troubleAt = 0;
  readonly #options: ProcessOptions;
  #startedAt = 0;
  #waiting: (() => void)[] = [];
  readonly #onEnd: (() => void)[] = [];

  constructor(options: ProcessOptions) {
    this.#options = options;
    this.name = options.name;
    this.scheduler = options.scheduler;
    this.clock = {
      now: () => EPOCH_MS + this.scheduler.now + this.wallOffMs,
      // Of a fresh process, as performance.now() is: nobody may compare it with another's.
      elapsed: () => this.scheduler.now - this.#startedAt + 1_000,
      sleep: (ms, signal) => this.#sleep(ms, signal),
    };
  }

  start(): void {
    if (this.alive) return;
    this.alive = true;
    this.frozen = false;
    this.starts++;
    this.#startedAt = this.scheduler.now;
    this.signal = new AbortController().signal;
    setMaxListeners(0, this.signal);
    this.#options.main(this);
  }

  kill(): void {
    if (!this.alive) return;
    this.alive = false;
    this.frozen = false;
    this.troubleAt = this.scheduler.now;
    this.#waiting = [];
    for (const end of this.#onEnd.splice(0)) end();
  }

  /** Calls `end` when the process dies: for what the system does, not for the process itself. */
  onEnd(end: () => void): void {
    this.#onEnd.push(end);
  }

  freeze(): void {
    if (this.alive) this.frozen = true;
  }

  /** Goes on: what came meanwhile is handled, in the order in which it came. */
  thaw(): void {
    if (!this.frozen) return;
    this.frozen = false;
    this.troubleAt = this.scheduler.now;
    const life = this.starts;
    for (const run of this.#waiting.splice(0)) {
      this.scheduler.after(0, () => this.enter(life, run));
    }
  }

  /** Runs `run` in the process if it still lives life `life`; once it has thawed, if it is frozen. */
  enter(life: number, run: () => void): void {
    if (!this.alive || life !== this.starts) return;
    if (this.frozen) this.#waiting.push(run);
    else run();
  }

  /** Runs `run` after `ms`, a little late as timers are. */
  after(ms: number, run: () => void): SimEvent {
    const { dice, timerLateMs } = this.#options;
    const life = this.starts;
    const late = timerLateMs > 0 ? dice.next() * timerLateMs : 0;
    return this.scheduler.after(Math.max(0, ms) + late, () => this.enter(life, run));
  }

  /** Runs `run` again and again, `everyMs` after the last time, until it returns `false`. */
  every(everyMs: number, run: () => unknown): void {
    this.after(everyMs, () => {
      if (run() !== false) this.every(everyMs, run);
    });
  }

  #sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      if (signal === undefined || signal === this.signal) {
        this.after(ms, resolve);
        return;
      }
      if (signal.aborted) return resolve();
      const done = (): void => {
        this.scheduler.cancel(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = this.after(ms, done);
      signal.addEventListener("abort", done);
    });
  }
}
