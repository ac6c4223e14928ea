/**
 * Outcomes on their way to the coordinator, and those it has: the node's memory of what ended.
 *
 *     add ──▶ waiting ⇄ asked ──▶ settled ──▶ forgotten
 *
 * An outcome is sent until the answer is `recorded` or `stale`, across changes of leader, lost links
 * and new lives of this node. Only a process that ends forgets one; the coordinator then finds the
 * task without a node and places it again.
 */
import type { Reply, Requester } from "@swarm-mesh/bus";
import {
  decode,
  encode,
  OutcomeAnswer,
  outcomeSubject,
  type WireError,
} from "@swarm-mesh/protocol";
import { backoffMs, type Clock, type Log, type Random, REQUEST_BACKOFF } from "@swarm-mesh/runtime";

/** Outcomes unacknowledged; at the limit the node refuses new tasks as busy. */
export const PENDING_OUTCOMES_MAX = 10_000;
/** Bytes of them; the same is done. */
const PENDING_BYTES_MAX = 64 * 1024 * 1024;
/** Acknowledged outcomes remembered, so that a repeated dispatch is not run again; the oldest go first. */
export const SETTLED_OUTCOMES_MAX = 10_000;
/** Bytes of them; the oldest go first. */
const SETTLED_BYTES_MAX = 32 * 1024 * 1024;
/** Outcomes asked about at the same time; the others wait. */
const ASKED_MAX = 1_000;
/** How long one answer may take: the coordinator writes a record first. */
const OUTCOME_TIMEOUT_MS = 5_000;

/** How one try ended. */
export interface Ended {
  readonly taskId: string;
  readonly attempt: number;
  readonly epoch: number;
  readonly agent: string;
  readonly end:
    | { readonly ok: true; readonly json: string }
    | { readonly ok: false; readonly error: WireError };
}

interface Entry {
  readonly taskId: string;
  readonly attempt: number;
  /** All of the body but attempt and epoch, which may change. */
  readonly tail: string;
  epoch: number;
  failures: number;
  /** When it is sent again; infinite while an answer is awaited. */
  dueAtMs: number;
}

export interface OutboxOptions {
  readonly nodeId: string;
  readonly requester: Requester;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Called when the last unacknowledged outcome was acknowledged. */
  readonly onEmpty: () => void;
}

export class Outbox {
  readonly #options: OutboxOptions;
  readonly #pending = new Map<string, Entry>();
  readonly #settled = new Map<string, Entry>();
  #pendingBytes = 0;
  #settledBytes = 0;
  #asked = 0;
  #closed = false;
  #linkUp = true;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** Outcomes unacknowledged. */
  get size(): number {
    return this.#pending.size;
  }

  get full(): boolean {
    return this.#pending.size >= PENDING_OUTCOMES_MAX || this.#pendingBytes >= PENDING_BYTES_MAX;
  }

  /** The try of `taskId` that ended here last. */
  attemptOf(taskId: string): number | undefined {
    return (this.#pending.get(taskId) ?? this.#settled.get(taskId))?.attempt;
  }

  /** Takes an outcome and sends it. It replaces that of an older try, which nobody asks for. */
  add(ended: Ended): void {
    const entry = this.#entryOf(ended);
    this.#forget(ended.taskId);
    this.#hold(entry);
    this.#ask(entry);
  }

  /** Remembers that a try ended, without telling: whoever would want to know knows. */
  remember(ended: Ended): void {
    this.#forget(ended.taskId);
    this.#settle(this.#entryOf(ended));
    if (this.#pending.size === 0) this.#options.onEmpty();
  }

  /** Sends the outcome of `taskId` again, for the term that asks. */
  resend(taskId: string, epoch: number): void {
    const settled = this.#settled.get(taskId);
    if (settled !== undefined) {
      this.#forget(taskId);
      this.#hold(settled);
    }
    const entry = this.#pending.get(taskId);
    if (entry === undefined) return;
    entry.epoch = epoch;
    entry.failures = 0;
    this.#ask(entry);
  }

  /** Sends what is due. */
  sweep(nowMs: number): void {
    if (!this.#linkUp) return;
    for (const entry of this.#pending.values()) {
      if (this.#asked >= ASKED_MAX) return;
      if (entry.dueAtMs <= nowMs) this.#ask(entry);
    }
  }

  /** While the link is down nothing is sent: it would only pile up in the connection. */
  setLink(up: boolean): void {
    this.#linkUp = up;
    if (!up) return;
    const now = this.#options.clock.elapsed();
    for (const entry of this.#pending.values()) {
      entry.failures = 0;
      entry.dueAtMs = now;
    }
  }

  /** Sends nothing from now on. */
  close(): void {
    this.#closed = true;
  }

  #entryOf({ taskId, attempt, epoch, agent, end }: Ended): Entry {
    const told = end.ok
      ? `"ok":true,"result":${end.json}`
      : `"ok":false,"error":${encode(end.error)}`;
    const tail = `${told},"agent":${encode(agent)}}`;
    return { taskId, attempt, epoch, tail, failures: 0, dueAtMs: 0 };
  }

  #ask(entry: Entry): void {
    if (this.#closed || !this.#linkUp || this.#asked >= ASKED_MAX) {
      entry.dueAtMs = this.#options.clock.elapsed();
      return;
    }
    const { nodeId, requester } = this.#options;
    const { epoch } = entry;
    entry.dueAtMs = Number.POSITIVE_INFINITY;
    this.#asked++;
    const body = `{"attempt":${entry.attempt},"epoch":${epoch},${entry.tail}`;
    try {
      requester.send(
        outcomeSubject(nodeId, entry.taskId),
        body,
        (reply) => {
          this.#asked--;
          this.#hear(entry, epoch, reply);
        },
        { timeoutMs: OUTCOME_TIMEOUT_MS },
      );
    } catch {
      // The connection is closed: there is nobody left to tell.
      this.#asked--;
      this.#closed = true;
    }
  }

  #hear(entry: Entry, epoch: number, reply: Reply): void {
    if (this.#pending.get(entry.taskId) !== entry) return;
    const answer =
      reply.kind === "message" ? decode(OutcomeAnswer, reply.message.data) : { ok: false as const };
    // `stale` to an epoch that has been replaced says nothing about the newer one.
    if (answer.ok && (answer.value.answer === "recorded" || epoch === entry.epoch)) {
      this.#forget(entry.taskId);
      this.#settle(entry);
      if (this.#pending.size === 0) this.#options.onEmpty();
      return;
    }
    const { clock, random, log } = this.#options;
    entry.failures++;
    entry.dueAtMs = clock.elapsed() + backoffMs(REQUEST_BACKOFF, entry.failures, random);
    if (entry.failures === 1) {
      log.debug({ taskId: entry.taskId, reply: reply.kind }, "outcome not recorded yet");
    }
  }

  #hold(entry: Entry): void {
    this.#pending.set(entry.taskId, entry);
    this.#pendingBytes += entry.tail.length;
  }

  #settle(entry: Entry): void {
    this.#settled.set(entry.taskId, entry);
    this.#settledBytes += entry.tail.length;
    for (const [taskId, oldest] of this.#settled) {
      if (this.#settled.size <= SETTLED_OUTCOMES_MAX && this.#settledBytes <= SETTLED_BYTES_MAX) {
        return;
      }
      this.#settled.delete(taskId);
      this.#settledBytes -= oldest.tail.length;
    }
  }

  #forget(taskId: string): void {
    const pending = this.#pending.get(taskId);
    if (pending !== undefined) this.#pendingBytes -= pending.tail.length;
    const settled = this.#settled.get(taskId);
    if (settled !== undefined) this.#settledBytes -= settled.tail.length;
    this.#pending.delete(taskId);
    this.#settled.delete(taskId);
  }
}
