/**
 * Streams as the server has them: publishing with dedupe, consumers with acknowledgements, messages
 * that are due later.
 *
 * What is not acknowledged within the ack-wait is delivered again. Of a work queue a message goes
 * when it is acknowledged, whoever acknowledges: an old holder's word counts as long as the message is
 * in somebody's hands. A consumer made anew hands everything out again and knows no old requests.
 */
import { Header } from "@swarm-mesh/protocol";
import type { MsgHdrs } from "nats";
import { readerOf } from "./mail.ts";
import type { Session } from "./network.ts";
import type { Dice, Scheduler, SimEvent } from "./scheduler.ts";

export interface StreamMessage {
  readonly stream: string;
  readonly seq: number;
  readonly subject: string;
  readonly body: unknown;
  readonly headers: MsgHdrs | undefined;
  /** The task it is about; of an event, nothing that is looked at. */
  readonly task: string;
  /** True time. */
  readonly storedAt: number;
}

/** A message on its way into a stream. */
export interface Publish {
  readonly subject: string;
  readonly body: unknown;
  readonly headers?: MsgHdrs | undefined;
}

export interface StreamOptions {
  readonly name: string;
  /** A work queue lets go of what is acknowledged. */
  readonly isQueue: boolean;
  readonly dedupeMs: number;
  readonly scheduler: Scheduler;
  readonly dice: Dice;
  readonly isUp: () => boolean;
  readonly onStored: (message: StreamMessage) => void;
  readonly onGone: (message: StreamMessage) => void;
}

/** Messages due later are late by as much, and a past time is due as soon. */
const SCHEDULE_LATE_MS = 250;

export class Stream {
  readonly options: StreamOptions;
  readonly messages = new Map<number, StreamMessage>();
  readonly consumers = new Map<string, Consumer>();
  /** By subject: what is put into the stream when it is due. */
  readonly scheduled = new Map<
    string,
    { readonly event: SimEvent; readonly message: StreamMessage }
  >();
  readonly #known = new Map<string, { readonly seq: number; readonly at: number }>();
  #lastSeq = 0;

  constructor(options: StreamOptions) {
    this.options = options;
  }

  /** Stores a message; one with the id of another within the window is a duplicate of it. */
  publish(publish: Publish, id: string | undefined): { seq: number; duplicate: boolean } {
    const { scheduler, dedupeMs, onStored } = this.options;
    const known = id === undefined ? undefined : this.#known.get(id);
    const isKnown = known !== undefined && scheduler.now - known.at < dedupeMs;
    if (isKnown) return { seq: known.seq, duplicate: true };
    const seq = ++this.#lastSeq;
    if (id !== undefined) this.#known.set(id, { seq, at: scheduler.now });
    const message = this.#messageOf(publish, seq);
    this.messages.set(seq, message);
    onStored(message);
    for (const consumer of this.consumers.values()) consumer.offer(message);
    return { seq, duplicate: false };
  }

  /** Has the message put on `target` when it is due, in true time. The same subject again replaces it. */
  schedule(publish: Publish, target: string, dueAt: number): void {
    const { scheduler, dice, onStored } = this.options;
    const { subject } = publish;
    const before = this.scheduled.get(subject);
    const message = this.#messageOf(publish, 0);
    onStored(message);
    const due = (): void => {
      if (!this.options.isUp()) {
        const event = scheduler.after(SCHEDULE_LATE_MS, due);
        this.scheduled.set(subject, { event, message });
        return;
      }
      this.scheduled.delete(subject);
      this.publish({ ...publish, subject: target }, undefined);
      this.options.onGone(message);
    };
    const late = dice.next() * SCHEDULE_LATE_MS;
    const event = scheduler.after(Math.max(0, dueAt - scheduler.now) + late, due);
    this.scheduled.set(subject, { event, message });
    if (before !== undefined) {
      scheduler.cancel(before.event);
      this.options.onGone(before.message);
    }
  }

  #messageOf({ subject, body, headers }: Publish, seq: number): StreamMessage {
    const { name, scheduler } = this.options;
    const read = readerOf(headers);
    // As the coordinator names it: a retry and a scheduled one by its task, a submit by its id.
    const task = read.get(Header.taskId) || read.get(Header.msgId) || `s${seq}`;
    return { stream: name, seq, subject, body, headers, task, storedAt: scheduler.now };
  }

  /** Creates the consumer unless it is there; how many messages wait for it. */
  ensureConsumer(name: string, filter: (subject: string) => boolean, ackWaitMs: number): number {
    const consumer = this.consumers.get(name) ?? new Consumer(this, filter, ackWaitMs);
    this.consumers.set(name, consumer);
    return consumer.waiting;
  }

  deleteConsumer(name: string): void {
    this.consumers.get(name)?.close();
    this.consumers.delete(name);
  }

  remove(seq: number): void {
    const message = this.messages.get(seq);
    if (message === undefined || !this.options.isQueue) return;
    this.messages.delete(seq);
    this.options.onGone(message);
  }
}

/** What a consumer hands out. */
export interface Delivered {
  readonly message: StreamMessage;
  readonly deliveries: number;
  /** Messages that wait behind it. */
  readonly waiting: number;
}

export interface PullRequest {
  readonly session: Session;
  readonly batch: number;
  /** `undefined`: only what is there now. */
  readonly expiresMs: number | undefined;
  readonly onMessage: (delivered: Delivered) => void;
  /** No more comes: `undelivered` of what was asked for. */
  readonly onEnd: (undelivered: number) => void;
}

interface Pending {
  readonly expiry: SimEvent;
}

export class Consumer {
  readonly #stream: Stream;
  readonly #filter: (subject: string) => boolean;
  readonly #ackWaitMs: number;
  readonly #ready: number[] = [];
  readonly #pending = new Map<number, Pending>();
  readonly #deliveries = new Map<number, number>();
  #pulls: { readonly request: PullRequest; left: number }[] = [];
  #closed = false;

  constructor(stream: Stream, filter: (subject: string) => boolean, ackWaitMs: number) {
    this.#stream = stream;
    this.#ackWaitMs = ackWaitMs;
    this.#filter = filter;
    for (const message of stream.messages.values())
      if (filter(message.subject)) this.#ready.push(message.seq);
  }

  get waiting(): number {
    return this.#ready.length;
  }

  /** Delivered and not acknowledged. */
  get ackPending(): number {
    return this.#pending.size;
  }

  close(): void {
    this.#closed = true;
    this.#pulls = [];
    for (const { expiry } of this.#pending.values()) this.#stream.options.scheduler.cancel(expiry);
  }

  offer(message: StreamMessage): void {
    if (!this.#filter(message.subject)) return;
    this.#ready.push(message.seq);
    this.serve();
  }

  pull(request: PullRequest): void {
    const { scheduler } = this.#stream.options;
    const pull = { request, left: request.batch };
    this.#pulls.push(pull);
    this.serve();
    const end = (): void => {
      if (this.#closed || pull.left === 0) return;
      this.#pulls = this.#pulls.filter((one) => one !== pull);
      const undelivered = pull.left;
      pull.left = 0;
      const { session } = request;
      session.link.toClient(session, () => request.onEnd(undelivered), "stored");
    };
    if (request.expiresMs === undefined) end();
    else scheduler.after(request.expiresMs, end);
  }

  /** Acknowledges: only what is in somebody's hands can be. */
  ack(seq: number): void {
    if (!this.#drop(seq)) return;
    this.#deliveries.delete(seq);
    this.#stream.remove(seq);
  }

  /** The holder still works on it. */
  working(seq: number): void {
    if (this.#drop(seq)) this.#hold(seq, this.#ackWaitMs);
  }

  /** The holder gives it back, to be delivered again after `delayMs`. */
  nak(seq: number, delayMs: number): void {
    if (this.#drop(seq)) this.#hold(seq, delayMs);
  }

  serve(): void {
    if (this.#closed || !this.#stream.options.isUp()) return;
    while (this.#ready.length > 0) {
      const pull = this.#pulls.find((one) => one.left > 0 && one.request.session.alive);
      if (pull === undefined) return;
      const seq = this.#ready.shift() ?? 0;
      const message = this.#stream.messages.get(seq);
      if (message === undefined) continue;
      pull.left--;
      if (pull.left === 0) this.#pulls = this.#pulls.filter((one) => one !== pull);
      this.#deliver(message, pull.request);
    }
  }

  #deliver(message: StreamMessage, { session, onMessage }: PullRequest): void {
    const { seq } = message;
    const deliveries = (this.#deliveries.get(seq) ?? 0) + 1;
    this.#deliveries.set(seq, deliveries);
    this.#hold(seq, this.#ackWaitMs);
    const delivered = { message, deliveries, waiting: this.#ready.length };
    session.link.toClient(session, () => onMessage(delivered), "stored");
  }

  #hold(seq: number, ms: number): void {
    const { scheduler } = this.#stream.options;
    const expiry = scheduler.after(ms, () => {
      if (!this.#pending.delete(seq) || this.#closed) return;
      // What comes again goes before what has not come yet.
      this.#ready.push(seq);
      this.#ready.sort((a, b) => a - b);
      this.serve();
    });
    this.#pending.set(seq, { expiry });
  }

  #drop(seq: number): boolean {
    const pending = this.#pending.get(seq);
    if (pending === undefined || this.#closed) return false;
    this.#stream.options.scheduler.cancel(pending.expiry);
    return this.#pending.delete(seq);
  }
}
