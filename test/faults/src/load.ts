/**
 * The load of a storm: plain NATS clients that publish each task until its PubAck is there, cancel
 * some, submit some twice, and write down what they were told.
 */
import { setMaxListeners } from "node:events";
import type { Requester } from "@swarm-mesh/bus";
import {
  cancelSubject,
  decode,
  encode,
  getSubject,
  Header,
  isFinal,
  submitSubject,
  TaskRecord,
} from "@swarm-mesh/protocol";
import { type Random, systemClock, ticks } from "@swarm-mesh/runtime";
import { headers } from "nats";
import { CAPABILITY } from "./fault-mesh.ts";
import type { Note } from "./recorder.ts";
import { drawTask, type TaskPlan } from "./tasks.ts";

export interface LoadOptions {
  /** Clients; tasks go over them in turn. */
  readonly clients: readonly Requester[];
  readonly random: Random;
  /** Tasks a second. What an outage held up is made up for after it. */
  readonly rate: number;
  readonly nodes: readonly string[];
  /** Writes a line of the history. */
  readonly note: (line: Note) => void;
  /** Called at each PubAck. */
  readonly onAcknowledged: (id: string) => void;
}

const TICK_MS = 20;
const SUBMIT_TIMEOUT_MS = 2_000;
const AGAIN_MS = 100;
/** Submits without a PubAck at once; an outage of ten seconds at the usual rates. */
const OUTSTANDING_MAX = 2_000;
/** How long a cancel or a get is asked again, when nobody answers. */
const ASK_TRIES = 20;
const ASK_TIMEOUT_MS = 2_000;
const BY = "client";

export class Load {
  readonly #options: LoadOptions;
  readonly #stop = new AbortController();
  /** Everything that is still to be waited for: submits, cancels, second submits. */
  readonly #errands = new Set<Promise<void>>();
  readonly #asked = new Set<string>();
  readonly #refusals = new Map<string, number>();
  #loop: Promise<void> = Promise.resolve();
  #submitted = 0;
  #outstanding = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    // Every second submit waits for this one signal: many listeners are no leak.
    setMaxListeners(0, this.#stop.signal);
  }

  /** Tasks that were published, acknowledged or not. */
  get submitted(): number {
    return this.#submitted;
  }

  /** Submits that have no PubAck yet. */
  get outstanding(): number {
    return this.#outstanding;
  }

  /** Answers of the server that refused a submit, and how often; each was sent again. */
  get refusals(): ReadonlyMap<string, number> {
    return this.#refusals;
  }

  start(): void {
    this.#loop = this.#submitAll(this.#stop.signal);
  }

  /** Ends the load; resolves when every submit has its PubAck and every client its answer. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
    while (this.#errands.size > 0) await Promise.all(this.#errands);
  }

  /** The record of a task is said to be final: some clients ask for it. */
  final(id: string): void {
    if (this.#asked.delete(id)) this.#errand(this.#ask(id, getSubject(id)));
  }

  async #submitAll(signal: AbortSignal): Promise<void> {
    const { random, rate, nodes } = this.#options;
    const startedMs = systemClock.elapsed();
    for await (const _ of ticks({ clock: systemClock, everyMs: TICK_MS, signal })) {
      const due = ((systemClock.elapsed() - startedMs) * rate) / 1_000;
      while (this.#submitted < due && this.#outstanding < OUTSTANDING_MAX) {
        this.#errand(this.#live(drawTask(random, this.#submitted++, nodes)));
      }
    }
  }

  /** All that clients do about one task. */
  async #live(plan: TaskPlan): Promise<void> {
    if (plan.asked) this.#asked.add(plan.id);
    await this.#submit(plan);
    const more: Promise<void>[] = [];
    if (plan.cancelAfterMs !== undefined) more.push(this.#cancel(plan.id, plan.cancelAfterMs));
    if (plan.againAfterMs !== undefined) more.push(this.#submitAgain(plan, plan.againAfterMs));
    await Promise.all(more);
  }

  async #submit(plan: TaskPlan): Promise<void> {
    const { note, onAcknowledged } = this.#options;
    const client = this.#client(plan.id);
    const options = { headers: headers(), timeoutMs: SUBMIT_TIMEOUT_MS };
    for (const [name, value] of Object.entries(plan.headers)) options.headers.set(name, value);
    const maxAttempts = plan.headers[Header.maxAttempts];
    const line = { by: BY, task: plan.id, capability: CAPABILITY };
    note({
      ...line,
      what: "submitting",
      ...(maxAttempts === undefined ? {} : { maxAttempts: Number(maxAttempts) }),
    });
    this.#outstanding++;
    for (;;) {
      const subject = submitSubject(CAPABILITY, plan.lane);
      const stored = await client.stored(subject, encode(plan.work), options);
      if (stored.kind === "stored") {
        note({ ...line, what: "acknowledged", duplicate: stored.duplicate });
        break;
      }
      if (stored.kind === "refused") {
        this.#refusals.set(stored.message, (this.#refusals.get(stored.message) ?? 0) + 1);
      }
      await systemClock.sleep(AGAIN_MS);
    }
    this.#outstanding--;
    onAcknowledged(plan.id);
  }

  async #submitAgain(plan: TaskPlan, afterMs: number): Promise<void> {
    await systemClock.sleep(afterMs, this.#stop.signal);
    // At the end of the run it is too late for it.
    if (!this.#stop.signal.aborted) await this.#submit(plan);
  }

  async #cancel(id: string, afterMs: number): Promise<void> {
    await systemClock.sleep(afterMs);
    this.#options.note({ by: BY, what: "cancel-asked", task: id });
    await this.#ask(id, cancelSubject(id));
  }

  /** Asks for a task's record until there is an answer; one that is final is written down. */
  async #ask(id: string, subject: string): Promise<void> {
    for (let tries = 0; tries < ASK_TRIES; tries++) {
      const reply = await this.#client(id).request(subject, "", { timeoutMs: ASK_TIMEOUT_MS });
      const record = reply.kind === "message" ? decode(TaskRecord, reply.message.data) : undefined;
      if (record?.ok === true) {
        const { status, attempt } = record.value;
        if (!isFinal(status)) return;
        this.#options.note({ by: BY, what: "result-seen", task: id, status, attempt });
        return;
      }
      await systemClock.sleep(AGAIN_MS);
    }
  }

  #client(id: string): Requester {
    const { clients } = this.#options;
    const client = clients[Number(id.slice(1)) % clients.length];
    if (client === undefined) throw new Error("a load needs a client");
    return client;
  }

  #errand(errand: Promise<void>): void {
    this.#errands.add(errand);
    void errand.finally(() => this.#errands.delete(errand));
  }
}
