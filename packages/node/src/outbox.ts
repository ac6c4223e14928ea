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
  BATCH_MAX,
  BATCH_MAX_BYTES,
  decode,
  encode,
  OutcomeAnswer,
  OutcomeBatchAnswer,
  outcomeSubject,
  outcomesSubject,
  type WireError,
} from "@swarm-mesh/protocol";
import {
  BriefMap,
  backoffMs,
  type Clock,
  type Log,
  type Random,
  REQUEST_BACKOFF,
} from "@swarm-mesh/runtime";
import type { Msg } from "nats";

/** Outcomes unacknowledged; at the limit the node refuses new tasks as busy. */
export const PENDING_OUTCOMES_MAX = 10_000;
/** Bytes of them; the same is done. */
const PENDING_BYTES_MAX = 64 * 1024 * 1024;
/** Acknowledged outcomes remembered, so that a repeated dispatch is not run again; the oldest go first. */
export const SETTLED_OUTCOMES_MAX = 10_000;
/** Bytes of them; the oldest go first. */
const SETTLED_BYTES_MAX = 32 * 1024 * 1024;
/** How much of it is kept when the oldest are forgotten. */
const FORGET_TO = 0.9;
/** Outcomes asked about at the same time; the others wait. */
const ASKED_MAX = 1_000;
/** How long one answer may take: the coordinator writes a record first. */
const OUTCOME_TIMEOUT_MS = 5_000;

/** How one try ended. */
export interface Ended {
  readonly taskId: string;
  readonly attempt: number;
  readonly epoch: number;
  /** Who ran it; nobody, when it was turned down. */
  readonly agent: string | undefined;
  readonly end:
    | { readonly ok: true; readonly json: string }
    | { readonly ok: false; readonly error: WireError };
}

interface Entry {
  readonly taskId: string;
  readonly attempt: number;
  /** All of the body but attempt and epoch, which may change. */
  readonly tail: string;
  /** Does it end the task? */
  readonly final: boolean;
  epoch: number;
  failures: number;
  /** When it is sent again; infinite while an answer is awaited. */
  dueAtMs: number;
}

/** An outcome on its way, under the epoch it was sent with. */
interface Asked {
  readonly entry: Entry;
  readonly epoch: number;
}

type Answer = OutcomeBatchAnswer["answers"][number];

export interface OutboxOptions {
  readonly nodeId: string;
  readonly requester: Requester;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Called when the last unacknowledged outcome was acknowledged. */
  readonly onEmpty: () => void;
  /** Called when an outcome that ends its task is recorded. */
  readonly onOver: (taskId: string, attempt: number) => void;
}

export class Outbox {
  readonly #options: OutboxOptions;
  readonly #pending = new BriefMap<Entry>();
  readonly #settled = new BriefMap<Entry>();
  #pendingBytes = 0;
  #settledBytes = 0;
  /** To be sent when this turn of the event loop ends. */
  #turn: Asked[] = [];
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
    const tail = agent === undefined ? `${told}}` : `${told},"agent":${encode(agent)}}`;
    const final = end.ok || !end.error.retryable;
    return { taskId, attempt, epoch, tail, final, failures: 0, dueAtMs: 0 };
  }

  #ask(entry: Entry): void {
    if (this.#closed || !this.#linkUp || this.#asked >= ASKED_MAX) {
      entry.dueAtMs = this.#options.clock.elapsed();
      return;
    }
    entry.dueAtMs = Number.POSITIVE_INFINITY;
    this.#asked++;
    if (this.#turn.length === 0) queueMicrotask(() => this.#sendTurn());
    this.#turn.push({ entry, epoch: entry.epoch });
  }

  /** Sends what one turn of the event loop had to tell, together where that is allowed. */
  #sendTurn(): void {
    const turn = this.#turn;
    this.#turn = [];
    // What was not recorded once goes by itself: a batch fails as a whole.
    const together: Asked[] = [];
    for (const one of turn) {
      if (one.entry.failures === 0 && isSmall(one.entry)) together.push(one);
      else this.#sendOne(one);
    }
    for (const batch of batchesOf(together)) {
      const [only, second] = batch;
      if (only !== undefined && second === undefined) this.#sendOne(only);
      else if (second !== undefined) this.#sendBatch(batch);
    }
  }

  #sendOne(asked: Asked): void {
    const { nodeId } = this.#options;
    const subject = outcomeSubject(nodeId, asked.entry.taskId);
    this.#send(subject, bodyOf(asked, ""), [asked], (message) => {
      const answer = decode(OutcomeAnswer, message.data);
      return answer.ok ? [answer.value.answer] : [];
    });
  }

  #sendBatch(batch: readonly Asked[]): void {
    const body = `[${batch.map((one) => bodyOf(one, `"taskId":"${one.entry.taskId}",`)).join()}]`;
    this.#send(outcomesSubject(this.#options.nodeId), body, batch, (message) => {
      const answer = decode(OutcomeBatchAnswer, message.data);
      return answer.ok ? answer.value.answers : [];
    });
  }

  #send(
    subject: string,
    body: string,
    asked: readonly Asked[],
    answersOf: (message: Msg) => readonly Answer[],
  ): void {
    const onReply = (reply: Reply): void => {
      this.#asked -= asked.length;
      const answers = reply.kind === "message" ? answersOf(reply.message) : [];
      asked.forEach((one, index) => {
        this.#hear(one, answers[index], reply.kind);
      });
    };
    try {
      this.#options.requester.send(subject, body, onReply, { timeoutMs: OUTCOME_TIMEOUT_MS });
    } catch {
      // The connection is closed: there is nobody left to tell.
      this.#asked -= asked.length;
      this.#closed = true;
    }
  }

  #hear({ entry, epoch }: Asked, answer: Answer | undefined, kind: Reply["kind"]): void {
    if (this.#pending.get(entry.taskId) !== entry) return;
    // `stale` to an epoch that has been replaced says nothing about the newer one.
    if (answer === "recorded" || (answer === "stale" && epoch === entry.epoch)) {
      this.#forget(entry.taskId);
      this.#settle(entry);
      if (answer === "recorded" && entry.final) this.#options.onOver(entry.taskId, entry.attempt);
      if (this.#pending.size === 0) this.#options.onEmpty();
      return;
    }
    const { clock, random, log } = this.#options;
    entry.failures++;
    entry.dueAtMs = clock.elapsed() + backoffMs(REQUEST_BACKOFF, entry.failures, random);
    if (entry.failures === 1) {
      log.debug({ taskId: entry.taskId, reply: kind, answer }, "outcome not recorded yet");
    }
  }

  #hold(entry: Entry): void {
    this.#pending.set(entry.taskId, entry);
    this.#pendingBytes += entry.tail.length;
  }

  #settle(entry: Entry): void {
    this.#settled.set(entry.taskId, entry);
    this.#settledBytes += entry.tail.length;
    const full =
      this.#settled.size > SETTLED_OUTCOMES_MAX || this.#settledBytes > SETTLED_BYTES_MAX;
    if (full) this.#forgetOldest();
  }

  /**
   * Makes room for a while: to look for the oldest entry of a map is slow when those before it are
   * deleted ones, so it is not done for each outcome.
   */
  #forgetOldest(): void {
    for (const [taskId, oldest] of this.#settled) {
      const spare =
        this.#settled.size <= SETTLED_OUTCOMES_MAX * FORGET_TO &&
        this.#settledBytes <= SETTLED_BYTES_MAX * FORGET_TO;
      if (spare) return;
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

/** Is the outcome small enough to share a message? In UTF-8 a character is three bytes at most. */
function isSmall(entry: Entry): boolean {
  return entry.tail.length <= BATCH_MAX_BYTES / 4;
}

function bodyOf({ entry, epoch }: Asked, name: string): string {
  return `{${name}"attempt":${entry.attempt},"epoch":${epoch},${entry.tail}`;
}

function* batchesOf(asked: readonly Asked[]): Generator<readonly Asked[]> {
  let batch: Asked[] = [];
  let length = 0;
  for (const one of asked) {
    if (batch.length === BATCH_MAX || length + one.entry.tail.length > BATCH_MAX_BYTES) {
      yield batch;
      batch = [];
      length = 0;
    }
    batch.push(one);
    length += one.entry.tail.length;
  }
  yield batch;
}
