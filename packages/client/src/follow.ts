/**
 * Follows one task until it ends.
 *
 * The server republishes each accepted record on `mesh.tasks.state.<task>`: that makes it fast. A
 * message may be missed while the link is down, and a task that ended earlier sends none; so the
 * record is also asked for, at first, when the link returns, and every few seconds: that makes it
 * correct.
 */
import { watchLink } from "@swarm-mesh/bus";
import { decode, isFinal, TaskRecord, taskStateSubject } from "@swarm-mesh/protocol";
import { type Clock, type Latch, latch, type Random, ticks, Wakeup } from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";
import { onAbort } from "./abort.ts";
import { MeshClientError } from "./errors.ts";

export interface WaitOptions {
  /** Default: a day, which is as long as a record is kept. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface FollowerDeps {
  readonly nc: NatsConnection;
  readonly clock: Clock;
  readonly random: Random;
  /** The record as the coordinator has it; `undefined` when there is none, or nobody answers now. */
  readonly get: (taskId: string, signal: AbortSignal) => Promise<TaskRecord | undefined>;
}

/** How often the record is asked for, half of it at least: followers must not ask in step. */
const ASK_INTERVAL_MS = 4_000;
/** Records kept for a slow reader. At the limit the oldest is dropped; the last one never is. */
const BACKLOG_MAX = 256;

/** What is known of one task. The subscription exists once this is constructed. */
export class Follower {
  readonly #taskId: string;
  readonly #deps: FollowerDeps;
  readonly #stop = new AbortController();
  readonly #wakeup = new Wakeup();
  readonly #unsubscribe: () => void;
  readonly #backlog: TaskRecord[] = [];
  #last: TaskRecord | undefined;
  #heard = 0;
  #failure: { readonly reason: unknown } | undefined;
  #change: Latch<void> = latch();

  constructor(taskId: string, deps: FollowerDeps) {
    this.#taskId = taskId;
    this.#deps = deps;
    const subscription = deps.nc.subscribe(taskStateSubject(taskId), {
      callback: (error, message) => {
        if (error !== null) return; // Not allowed to listen: asking alone does it, more slowly.
        const record = decode(TaskRecord, message.data);
        // A removed key is republished as an empty message.
        if (record.ok) this.#hear(record.value);
      },
    });
    this.#unsubscribe = () => subscription.unsubscribe();
    void this.#watchTheEnd();
  }

  /** The newest record seen. */
  get last(): TaskRecord | undefined {
    return this.#last;
  }

  /** Starts to ask for the record: at once, or, for a task just made, when it could have been missed. */
  start(first: "now" | "later"): void {
    void this.#ask(first);
  }

  /** Each record as it becomes known, the final one last. Rejects when `signal` aborts. */
  async *records(signal: AbortSignal): AsyncGenerator<TaskRecord, void, undefined> {
    const release = onAbort(signal, () => this.#fail(signal.reason));
    try {
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
    } finally {
      release();
      this.close();
    }
  }

  /** Stops following. A repeat does nothing. */
  close(): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    if (!this.#deps.nc.isClosed()) this.#unsubscribe();
  }

  #hear(record: TaskRecord): void {
    this.#heard++;
    if (record.id !== this.#taskId) return;
    // A final record never changes, so whatever comes after it is older.
    if (this.#last !== undefined && isFinal(this.#last.status)) return;
    this.#last = record;
    this.#backlog.push(record);
    if (this.#backlog.length > BACKLOG_MAX) this.#backlog.shift();
    this.#change.resolve();
  }

  #fail(reason: unknown): void {
    this.#failure ??= { reason };
    this.#change.resolve();
  }

  async #watchTheEnd(): Promise<void> {
    const { nc } = this.#deps;
    const closed = nc.closed().then(() => {
      this.#fail(new MeshClientError("closed", "the connection was closed"));
    });
    const onLink = (up: boolean): void => {
      if (up) this.#wakeup.ring();
    };
    await Promise.race([closed, watchLink(nc, onLink, this.#stop.signal)]);
  }

  async #ask(first: "now" | "later"): Promise<void> {
    const { clock, random, get } = this.#deps;
    const { signal } = this.#stop;
    const everyMs = ASK_INTERVAL_MS * (0.5 + random() / 2);
    let skip = first === "later";
    try {
      for await (const _ of ticks({ clock, everyMs, wakeup: this.#wakeup, signal })) {
        if (skip) {
          skip = false;
          continue;
        }
        const heardBefore = this.#heard;
        const record = await get(this.#taskId, signal);
        if (signal.aborted || record === undefined) continue;
        // What was heard since may be newer than the answer, except than a final one.
        if (this.#heard === heardBefore || isFinal(record.status)) this.#learn(record);
      }
    } catch (reason) {
      this.#fail(reason);
    }
  }

  /** Takes an answer, unless it says what is known. */
  #learn(record: TaskRecord): void {
    const { last } = this;
    const same =
      last !== undefined &&
      last.attempt === record.attempt &&
      last.status === record.status &&
      last.node === record.node &&
      JSON.stringify(last.progress) === JSON.stringify(record.progress);
    if (!same) this.#hear(record);
  }
}
