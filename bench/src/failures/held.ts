/** Who holds which tasks, as the workers tell it themselves. */
import { latch, systemClock } from "@swarm-mesh/runtime";
import type { WorkerProcess } from "../processes.ts";

/** Longer than BullMQ takes by its defaults, 59 s at worst. */
const MOVE_MAX_MS = 90_000;

/** Hears of every held task that a worker starts, from now on. */
export class Held {
  readonly #worker: WorkerProcess;
  readonly #started = new Set<string>();
  #onStart: () => void = () => undefined;

  constructor(worker: WorkerProcess) {
    this.#worker = worker;
    worker.onEvent = (taskId) => {
      this.#started.add(taskId);
      this.#onStart();
    };
  }

  /** Resolves once the worker has started all of `taskIds`. Rejects after a time that none takes. */
  async all(taskIds: readonly string[], signal: AbortSignal): Promise<void> {
    const hasAll = latch<void>();
    this.#onStart = () => {
      if (taskIds.every((id) => this.#started.has(id))) hasAll.resolve();
    };
    this.#onStart();
    const over = new AbortController();
    const late = systemClock
      .sleep(MOVE_MAX_MS, AbortSignal.any([signal, over.signal]))
      .then(() => "late");
    const outcome = await Promise.race([hasAll.promise, late]);
    over.abort();
    signal.throwIfAborted();
    if (outcome === undefined) return;
    const missing = taskIds.filter((id) => !this.#started.has(id)).length;
    throw new Error(`${this.#worker.name} has not started ${missing} of ${taskIds.length} tasks`);
  }
}
