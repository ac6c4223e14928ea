/**
 * What the leader writes: records by compare-and-swap, retries, dead letters, acknowledgements.
 *
 * Every write asks first whether this term may still act, and a write whose fate is unknown is tried
 * again, then read back: it never ends in a guess.
 */

import { randomUUID } from "node:crypto";
import type { JetStreamManager } from "@nats-io/jetstream";
import { Bucket, expecting, RefusedError, type Requester, type Stored } from "@swarm-mesh/bus";
import {
  CHECKPOINTS_BUCKET,
  checkpointKey,
  deadSubject,
  decode,
  delayedSubject,
  encode,
  Header,
  kvSubject,
  retrySubject,
  TASKS_BUCKET,
  TaskRecord,
} from "@swarm-mesh/protocol";
import {
  backoffMs,
  type Clock,
  isoTime,
  type Log,
  type Random,
  REQUEST_BACKOFF,
} from "@swarm-mesh/runtime";
import { headers, type MsgHdrs, type NatsConnection } from "nats";
import type { HeldTask } from "./held-task.ts";
import { nodesThatRan } from "./lifecycle.ts";
import type { CoordinatorMeters } from "./meters.ts";

/**
 * This term is over: nothing more may be done in its name. Not a failure; who asked for something
 * meanwhile is told to ask the next leader.
 */
export class TermOverError extends RefusedError {
  override readonly name = "TermOverError";

  constructor() {
    super("not_leader", "this term is over", true);
  }
}

/** The store will never take this value. */
class StoreRefusedError extends Error {
  override readonly name = "StoreRefusedError";
}

const ACK = Buffer.from("+ACK");
const IN_PROGRESS = Buffer.from("+WPI");

export interface RecordsOptions {
  readonly nc: NatsConnection;
  readonly requester: Requester;
  readonly manager: JetStreamManager;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly meters: CoordinatorMeters;
  readonly epoch: number;
  readonly signal: AbortSignal;
  /** May this term still act? */
  readonly trusted: () => boolean;
}

type StoredOnce = Extract<Stored, { readonly kind: "stored" }>;

/** A record with the revision to write it by. */
export interface StoredRecord {
  readonly record: TaskRecord | undefined;
  /** 0: there has never been one. */
  readonly revision: number;
}

export class Records {
  readonly #options: RecordsOptions;
  readonly #tasks: Bucket;
  readonly #checkpoints: Bucket;
  /** In the ids of retries: a client who knew one could publish it first, and ours were a duplicate. */
  readonly #secret = randomUUID();
  /** The newest revision of all records that this term has written; 0: none yet. */
  newestRevision = 0;

  constructor(options: RecordsOptions) {
    this.#options = options;
    this.#tasks = new Bucket(TASKS_BUCKET, options.manager, options.requester);
    this.#checkpoints = new Bucket(CHECKPOINTS_BUCKET, options.manager, options.requester);
  }

  /** Now, as records have it. */
  now(): string {
    return isoTime(this.#options.clock.now());
  }

  /** The record as the store's leader has it. */
  async read(taskId: string): Promise<StoredRecord> {
    return this.#again(async () => readRecord(this.#tasks, taskId));
  }

  /**
   * Writes the task's next record. `true`: it is stored, and `held` knows it. `false`: someone else
   * wrote first; read and decide again.
   */
  async write(held: HeldTask, next: TaskRecord): Promise<boolean> {
    const subject = kvSubject(TASKS_BUCKET.name, held.id);
    const value = encode(next);
    const bytes = Buffer.from(value);
    let doubtful = false;
    for (let failures = 1; ; failures++) {
      this.#mayAct();
      const stored = await this.#options.requester.stored(subject, bytes, {
        headers: expecting(held.revision),
      });
      if (stored.kind === "stored") return this.#keep(held, next, stored.revision);
      if (stored.kind === "refused") throw new StoreRefusedError(stored.message);
      if (stored.kind === "conflict") {
        this.#options.meters.conflicts.inc();
        if (!doubtful) return false;
        // An earlier try of this very write may have been stored without a word.
        const there = await this.read(held.id);
        const ours = there.record !== undefined && encode(there.record) === value;
        return ours ? this.#keep(held, next, there.revision) : false;
      }
      doubtful = true;
      this.#options.meters.writesAgain.inc();
      await this.#pause(failures);
    }
  }

  /** Lets the task's message go: it is over, or another message carries it. */
  acknowledge(ack: string): void {
    // On a closed connection the message simply comes again, and its record says that it is over.
    if (ack !== "" && !this.#options.nc.isClosed()) this.#options.nc.publish(ack, ACK);
  }

  /** Tells the server that the message is still in good hands. */
  renew(held: HeldTask): void {
    if (held.ack !== "") this.#options.nc.publish(held.ack, IN_PROGRESS);
  }

  /**
   * Puts the task back into the stream, to come again as a retry: at `dueAtMs` by the wall clock, or
   * at once. A repeat replaces the waiting one.
   */
  async postpone(held: HeldTask, attempt: number, dueAtMs: number | undefined): Promise<void> {
    const payload = await this.payload(held);
    // The message is gone: whoever acknowledged it had put the task somewhere safe.
    if (payload === undefined) return;
    const h = headers();
    for (const [name, value] of held.forward) h.set(name, value);
    h.set(Header.taskId, held.id);
    h.set(Header.attempt, String(attempt));
    h.set(Header.lane, held.lane);
    h.set(Header.submittedAt, held.submittedAt);
    const target = retrySubject(held.capability);
    if (dueAtMs === undefined) {
      h.set(Header.msgId, `${held.id}.${attempt}.${this.#secret}`);
      await this.#store(target, payload, h);
      return;
    }
    h.set("Nats-Schedule", `@at ${isoTime(dueAtMs)}`);
    h.set("Nats-Schedule-Target", target);
    await this.#store(delayedSubject(held.id), payload, h);
  }

  /** Writes the dead letter of a task that failed or was rejected. A repeat is a duplicate. */
  async bury(held: HeldTask, record: TaskRecord): Promise<void> {
    const payload = await this.payload(held);
    if (payload === undefined) return;
    const h = headers();
    for (const [name, value] of held.forward) h.set(name, value);
    h.set(Header.msgId, held.id);
    h.set(Header.taskId, held.id);
    h.set(Header.capability, headerText(record.capability));
    h.set(Header.lane, record.lane);
    h.set(Header.status, record.status);
    h.set(Header.submittedAt, record.submittedAt);
    h.set(Header.error, headerText(encode(record.error)));
    h.set(Header.tries, headerText(encode(record.tries)));
    const { duplicate } = await this.#store(deadSubject(held.id), payload, h);
    if (!duplicate) this.#options.meters.deadLetters.inc();
  }

  /** The task's body: what is still here, or what the stream has; `undefined` when it is gone. */
  async payload(held: HeldTask): Promise<Uint8Array | undefined> {
    if (held.payload !== undefined) return held.payload;
    const message = await this.#again(() =>
      this.#options.manager.streams.getMessage(held.stream, { seq: held.seq }),
    );
    return message?.data;
  }

  /** What the newest of the earlier tries that saved anything saved. */
  async checkpoint(record: TaskRecord): Promise<Uint8Array | undefined> {
    const saved = await Promise.all(
      nodesThatRan(record).map((node) =>
        this.#again(() => this.#checkpoints.read(checkpointKey(node, record.id))),
      ),
    );
    // A node that ran the task twice may hold what its first try saved: the try tells, not the node.
    const tries = saved.flatMap((entry) =>
      entry?.value === undefined
        ? []
        : [{ attempt: Number(entry.headers?.get(Header.attempt)) || 0, value: entry.value }],
    );
    return tries.sort((a, b) => b.attempt - a.attempt)[0]?.value;
  }

  async #store(subject: string, payload: Uint8Array, h: MsgHdrs): Promise<StoredOnce> {
    for (let failures = 1; ; failures++) {
      this.#mayAct();
      const stored: Stored = await this.#options.requester.stored(subject, payload, { headers: h });
      if (stored.kind === "stored") return stored;
      if (stored.kind === "refused" || stored.kind === "conflict") {
        throw new StoreRefusedError(stored.kind === "refused" ? stored.message : "conflict");
      }
      await this.#pause(failures);
    }
  }

  /** Reads until it succeeds or the term ends: a store between leaders is no reason to guess. */
  async #again<T>(read: () => Promise<T>): Promise<T> {
    for (let failures = 1; ; failures++) {
      try {
        return await read();
      } catch (error) {
        this.#mayAct();
        this.#options.log.warn({ err: error, failures }, "read failed");
        await this.#pause(failures);
      }
    }
  }

  async #pause(failures: number): Promise<void> {
    const { clock, random, signal } = this.#options;
    await clock.sleep(backoffMs(REQUEST_BACKOFF, failures, random), signal);
    this.#mayAct();
  }

  #keep(held: HeldTask, record: TaskRecord, revision: number): true {
    this.#count(held, record);
    this.newestRevision = Math.max(this.newestRevision, revision);
    held.record = record;
    held.revision = revision;
    return true;
  }

  /** Every change of a task is a write of its record, so here all of them are counted, each once. */
  #count(held: HeldTask, next: TaskRecord): void {
    const { clock, meters } = this.#options;
    const before = held.record;
    if (next.status === "running") {
      if (before?.status === "running" && before.attempt === next.attempt) return;
      meters.offered(held.capability).started.inc();
      if (next.attempt === 1) meters.wait.of(held.lane).observeMs(clock.now() - held.storedAtMs);
    } else if (next.status !== "retrying") {
      meters.of(held.capability)[next.status].inc();
    } else if (next.tries.length > (before?.tries.length ?? 0)) {
      meters.of(held.capability).retried.inc();
    }
  }

  #mayAct(): void {
    if (!this.#options.trusted()) throw new TermOverError();
  }
}

/** Reads a record that anyone may ask for. An entry that is no record is treated as none. */
export async function readRecord(bucket: Bucket, taskId: string): Promise<StoredRecord> {
  const entry = await bucket.read(taskId);
  if (entry === undefined) return { record: undefined, revision: 0 };
  if (entry.value === undefined) return { record: undefined, revision: entry.revision };
  const decoded = decode(TaskRecord, entry.value);
  return { record: decoded.ok ? decoded.value : undefined, revision: entry.revision };
}

/** Longest text put into one header of a dead letter. */
const HEADER_TEXT_MAX = 32 * 1024;

/** Text for a header: one line, ASCII, the rest escaped as in JSON. */
function headerText(text: string): string {
  const escaped = text.replaceAll(
    /[^\x20-\x7e]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return escaped.slice(0, HEADER_TEXT_MAX);
}
