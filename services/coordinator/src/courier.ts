/**
 * Carries tasks to nodes.
 *
 * A node that reads batches is sent what is due to it in one turn in one message, and answers
 * nothing: its outcome says that it had the task, and one that stays silent is asked. Any other node
 * is sent each task by itself, as a request.
 */
import { type HeaderEntry, headerBlock, type Reply, type Requester } from "@swarm-mesh/bus";
import {
  BATCH_MAX,
  BATCH_MAX_BYTES,
  type BatchedTask,
  encodeTasks,
  formatDuration,
  Header,
  nodeSubject,
  type TaskRecord,
} from "@swarm-mesh/protocol";
import type { NatsConnection } from "nats";
import type { HeldTask } from "./held-task.ts";

/** A larger payload is not worth a copy: it travels by itself. */
const BATCHED_PAYLOAD_MAX_BYTES = 64 * 1024;

/** One try of a task, ready to be sent. */
export interface Parcel {
  readonly held: HeldTask;
  /** As it is stored: with the node and the try. */
  readonly record: TaskRecord;
  readonly payload: Uint8Array;
  /** What an earlier try saved. */
  readonly saved: Uint8Array | undefined;
}

/** What goes to one life of one node in this turn. */
interface Bag {
  readonly tasks: Parcel[];
  bytes: number;
}

export interface CourierOptions {
  readonly nc: NatsConnection;
  readonly requester: Requester;
  readonly epoch: number;
}

export class Courier {
  readonly #options: CourierOptions;
  readonly #bags = new Map<string, Bag>();

  constructor(options: CourierOptions) {
    this.#options = options;
  }

  /** Sends a task and wants to know what the node says; `onReply` is called once. */
  ask(parcel: Parcel, timeoutMs: number, onReply: (reply: Reply) => void): void {
    const headers = headerBlock(this.#headers(parcel));
    this.#options.requester.send(subjectOf(parcel), parcel.payload, onReply, {
      headers,
      timeoutMs,
    });
  }

  /** Sends a task that is not answered, with what else goes to its node in this turn. */
  send(parcel: Parcel): void {
    if (parcel.saved !== undefined || parcel.payload.length > BATCHED_PAYLOAD_MAX_BYTES) {
      this.#sendOne(parcel);
      return;
    }
    const { node, incarnation } = parcel.record;
    const key = `${node} ${incarnation}`;
    if (this.#bags.size === 0) queueMicrotask(() => this.#emptyAll());
    const bag = this.#bags.get(key) ?? { tasks: [], bytes: 0 };
    this.#bags.set(key, bag);
    bag.tasks.push(parcel);
    bag.bytes += parcel.payload.length;
    if (bag.tasks.length >= BATCH_MAX || bag.bytes >= BATCH_MAX_BYTES) {
      this.#empty(bag);
      bag.tasks.length = 0;
      bag.bytes = 0;
    }
  }

  #emptyAll(): void {
    for (const bag of this.#bags.values()) this.#empty(bag);
    this.#bags.clear();
  }

  #empty({ tasks }: Bag): void {
    const [first, second] = tasks;
    if (first === undefined) return;
    if (second === undefined) this.#sendOne(first);
    else this.#sendBatch(first, tasks);
  }

  #sendOne(parcel: Parcel): void {
    this.#publish(subjectOf(parcel), parcel.payload, this.#headers(parcel));
  }

  #sendBatch(first: Parcel, parcels: readonly Parcel[]): void {
    this.#publish(
      nodeSubject(first.record.node ?? "", "tasks"),
      encodeTasks(parcels.map(batched)),
      [
        [Header.epoch, String(this.#options.epoch)],
        [Header.incarnation, String(first.record.incarnation ?? 0)],
      ],
    );
  }

  #publish(subject: string, payload: Uint8Array, headers: readonly HeaderEntry[]): void {
    const { nc } = this.#options;
    // On a closed connection the term ends; the next leader finds the task running and asks.
    if (!nc.isClosed()) nc.publish(subject, payload, { headers: headerBlock(headers) });
  }

  #headers({ held, record, saved }: Parcel): HeaderEntry[] {
    const entries: HeaderEntry[] = held.forward.filter(([name]) => name !== Header.timeout);
    entries.push(
      [Header.taskId, held.id],
      [Header.capability, held.capability],
      [Header.attempt, String(record.attempt)],
      [Header.epoch, String(this.#options.epoch)],
      [Header.incarnation, String(record.incarnation ?? 0)],
      [Header.timeout, formatDuration(held.options.timeoutMs)],
    );
    if (held.traced !== undefined) retrace(entries, held.traced.traceparent);
    if (saved !== undefined) {
      entries.push([Header.checkpoint, Buffer.from(saved).toString("base64")]);
    }
    return entries;
  }
}

/** Puts the try's own trace context in the place of the submit's. */
function retrace(entries: HeaderEntry[], traceparent: string): void {
  const at = entries.findIndex(([name]) => name === Header.traceparent);
  entries.splice(at < 0 ? entries.length : at, 1, [Header.traceparent, traceparent]);
}

function subjectOf({ record }: Parcel): string {
  return nodeSubject(record.node ?? "", "task");
}

function batched({ held, record, payload }: Parcel): BatchedTask {
  return {
    head: {
      taskId: held.id,
      capability: held.capability,
      attempt: record.attempt,
      timeoutMs: held.options.timeoutMs,
      trace: held.traced?.traceparent ?? held.options.trace,
      ...(held.options.signature === undefined ? {} : { signed: signedHead(held) }),
      bytes: payload.length,
    },
    payload,
  };
}

/** What a node needs to check a signature, exactly as the submit had it. */
function signedHead(held: HeldTask): BatchedTask["head"]["signed"] {
  const requires = held.forward.find(([name]) => name === Header.requires)?.[1];
  return held.options.signature && { ...held.options.signature, requires };
}
