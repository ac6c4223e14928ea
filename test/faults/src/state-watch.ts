/**
 * Where every task stands, as the mesh's own announcements say: for whoever waits for something to
 * move. The history is the recorder's; this one may miss a change and looks it up later.
 */
import { Bucket, openManager, Requester } from "@swarm-mesh/bus";
import {
  decode,
  isFinal,
  TASKS_BUCKET,
  TaskRecord,
  type TaskStatus,
  taskStateSubject,
} from "@swarm-mesh/protocol";
import { systemClock, ticks } from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";

/** What is kept of a task that is not final. */
export interface OpenTask {
  readonly id: string;
  readonly status: TaskStatus;
  readonly node: string | null;
  readonly incarnation: number | null;
  readonly attempt: number;
  readonly epoch: number;
  /** When it was heard, on the monotonic clock. */
  readonly heardMs: number;
}

export type OnChange = (task: OpenTask) => void;

/** A task that has not changed for so long may have changed unheard. */
const LOOK_AFTER_MS = 15_000;
const LOOK_EVERY_MS = 5_000;
/** Records looked up at the same time, and in one round. */
const LOOKS_AT_ONCE = 32;
const LOOKS_MAX = 2_000;

export class StateWatch {
  readonly #open = new Map<string, OpenTask>();
  readonly #finals = new Map<string, TaskStatus>();
  readonly #listeners = new Set<OnChange>();
  readonly #bucket: Bucket;

  private constructor(bucket: Bucket) {
    this.#bucket = bucket;
  }

  /** Follows the mesh as `nc`'s user, an admin or viewer whose inbox prefix is given. */
  static async open(nc: NatsConnection, inboxPrefix: string): Promise<StateWatch> {
    const requester = new Requester(nc, { inboxPrefix });
    const watch = new StateWatch(new Bucket(TASKS_BUCKET, await openManager(nc), requester));
    nc.subscribe(taskStateSubject("*"), {
      callback: (error, message) => {
        if (error === null) watch.#hear(message.data);
      },
    });
    await nc.flush();
    return watch;
  }

  /** Tasks that have a record which is not final. */
  get open(): ReadonlyMap<string, OpenTask> {
    return this.#open;
  }

  /** The final status of each task that has one. */
  get finals(): ReadonlyMap<string, TaskStatus> {
    return this.#finals;
  }

  /** Calls `listener` at each change until the returned function is called. */
  on(listener: OnChange): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Looks up what has not been heard of for long, again and again, until `signal` aborts. */
  async lookAgain(signal: AbortSignal): Promise<void> {
    for await (const _ of ticks({ clock: systemClock, everyMs: LOOK_EVERY_MS, signal })) {
      const before = systemClock.elapsed() - LOOK_AFTER_MS;
      const silent = [...this.#open.values()].filter(({ heardMs }) => heardMs < before);
      await this.look(
        silent.slice(0, LOOKS_MAX).map(({ id }) => id),
        signal,
      );
    }
  }

  /** Reads these tasks' records from the bucket, as far as the store answers. */
  async look(ids: readonly string[], signal: AbortSignal): Promise<void> {
    const rest = [...ids];
    const worker = async (): Promise<void> => {
      for (let id = rest.pop(); id !== undefined && !signal.aborted; id = rest.pop()) {
        // A store that does not answer is asked again in the next round.
        const entry = await this.#bucket.read(id).catch(() => undefined);
        if (entry?.value !== undefined) this.#hear(entry.value);
      }
    };
    await Promise.all(Array.from({ length: LOOKS_AT_ONCE }, worker));
  }

  #hear(payload: Uint8Array): void {
    const decoded = decode(TaskRecord, payload);
    if (!decoded.ok) return; // A marker, or the recorder's to complain about.
    const { id, status, node, incarnation, attempt, epoch } = decoded.value;
    const known = this.#open.get(id);
    if (this.#finals.has(id)) return;
    const heardMs = systemClock.elapsed();
    const task: OpenTask = { id, status, node, incarnation, attempt, epoch, heardMs };
    if (isFinal(status)) {
      this.#open.delete(id);
      this.#finals.set(id, status);
    } else {
      this.#open.set(id, task);
      // Looked up, and as it was: nothing happened.
      const same = known?.attempt === attempt && known.status === status && known.epoch === epoch;
      if (same) return;
    }
    for (const listener of this.#listeners) listener(task);
  }
}
