/** Which signed tasks this node has run: so that a message kept by someone cannot run it again. Pure. */

/** Ids remembered, about 200 bytes each. At the limit those that expire are let go, then the oldest. */
const REPLAYS_MAX = 100_000;
/** How much is kept when the oldest are forgotten: it is not done for each task. */
const FORGET_TO = 0.9;

interface Run {
  /** The newest try that was started. */
  attempt: number;
  /** Its end is recorded, and nothing may run under this id again. */
  over: boolean;
  readonly expiresAtMs: number;
}

export class Replays {
  readonly #runs = new Map<string, Run>();
  readonly #max: number;

  constructor(max = REPLAYS_MAX) {
    this.#max = max;
  }

  get size(): number {
    return this.#runs.size;
  }

  /**
   * May try `attempt` of the task start? A retry is a newer try of a task whose end is not recorded;
   * anything else has been here before. Remembers a try that may.
   */
  admit(taskId: string, attempt: number, expiresAtMs: number, nowMs: number): boolean {
    const run = this.#runs.get(taskId);
    // Once every signature of its first use has expired, an id may be used for another task.
    if (run !== undefined && run.expiresAtMs > nowMs && (run.over || attempt <= run.attempt)) {
      return false;
    }
    if (run === undefined && this.#runs.size >= this.#max) this.#makeRoom(nowMs);
    this.#runs.set(taskId, { attempt, over: false, expiresAtMs });
    return true;
  }

  /** The end of the task's try is in its record. */
  ended(taskId: string, attempt: number): void {
    const run = this.#runs.get(taskId);
    if (run?.attempt === attempt) run.over = true;
  }

  #makeRoom(nowMs: number): void {
    for (const [taskId, { expiresAtMs }] of this.#runs) {
      if (expiresAtMs <= nowMs) this.#runs.delete(taskId);
    }
    for (const taskId of this.#runs.keys()) {
      if (this.#runs.size <= this.#max * FORGET_TO) return;
      this.#runs.delete(taskId);
    }
  }
}
