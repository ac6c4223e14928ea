/** Those who follow a task: one wants its end, the other each step. */
import { decode, isFinal, TaskRecord } from "@swarm-mesh/protocol";
import { type Latch, latch } from "@swarm-mesh/runtime";
import { bytesOf } from "./unfinished.ts";

/** Never, on the monotonic clock. */
const NEVER_MS = Number.POSITIVE_INFINITY;
/** Records kept for a slow reader. At the limit the oldest is dropped; the last one never is. */
const BACKLOG_MAX = 256;

/** What is kept of someone who follows a task. {@link Following} alone changes it. */
export abstract class Follower {
  readonly taskId: string;
  /** Every record is wanted; otherwise the final one alone. */
  abstract readonly wantsAll: boolean;
  /** How long it may go without news before the record is asked for. */
  readonly askEveryMs: number;
  /** When the record is asked for; never while its task is still being submitted. */
  askAtMs = NEVER_MS;
  asking = false;
  /** It was told the end, or that there will be none. */
  over = false;
  /** When the wait is given up, and how long it was to be. */
  endAtMs = NEVER_MS;
  timeoutMs = NEVER_MS;
  /** Records heard: a change while the record was asked for makes the answer an old one. */
  heard = 0;
  /** The newest record that was not final; as text while nobody has read it. */
  last: TaskRecord | string | undefined;
  /** Its task's submit, while that is on its way: whoever is over wants it no more. */
  submit: { drop(): void } | undefined;
  /** Stops listening to the caller's signal. */
  release: (() => void) | undefined;

  constructor(taskId: string, askEveryMs: number) {
    this.taskId = taskId;
    this.askEveryMs = askEveryMs;
  }

  /** Takes the final record, or any if every one is wanted. Must not throw. */
  abstract take(record: TaskRecord): void;

  /** Nothing more will come. Must not throw. */
  abstract fail(reason: unknown): void;

  /** The newest record; `undefined` while there is none. */
  lastRecord(): TaskRecord | undefined {
    if (typeof this.last !== "string") return this.last;
    const record = decode(TaskRecord, bytesOf(this.last));
    return record.ok ? record.value : undefined;
  }
}

/** Waits for the end: one promise, settled from outside, and nothing else. */
export class EndFollower extends Follower {
  readonly wantsAll = false;
  readonly #resolve: (record: TaskRecord) => void;
  readonly #reject: (reason: unknown) => void;

  constructor(
    task: { readonly id: string; readonly askEveryMs: number },
    resolve: (record: TaskRecord) => void,
    reject: (reason: unknown) => void,
  ) {
    super(task.id, task.askEveryMs);
    this.#resolve = resolve;
    this.#reject = reject;
  }

  override take(record: TaskRecord): void {
    this.#resolve(record);
  }

  override fail(reason: unknown): void {
    this.#reject(reason);
  }
}

/** Hands out each record, at the reader's pace. */
export class StepFollower extends Follower {
  readonly wantsAll = true;
  readonly #backlog: TaskRecord[] = [];
  #failure: { readonly reason: unknown } | undefined;
  #change: Latch<void> = latch();

  override take(record: TaskRecord): void {
    this.#backlog.push(record);
    if (this.#backlog.length > BACKLOG_MAX) this.#backlog.shift();
    this.#change.resolve();
  }

  override fail(reason: unknown): void {
    this.#failure ??= { reason };
    this.#change.resolve();
  }

  /** Each record as it becomes known, the final one last. Rejects when it {@link fail}s. */
  async *records(): AsyncGenerator<TaskRecord, void, undefined> {
    for (;;) {
      const record = this.#backlog.shift();
      if (record !== undefined) {
        yield record;
        if (isFinal(record.status)) return;
        continue;
      }
      if (this.#failure !== undefined) throw this.#failure.reason;
      await this.#change.promise;
      this.#change = latch();
    }
  }
}
