/**
 * A node by plain NATS, as docs/protocol.md tells it, of which one process can be hundreds: it joins,
 * keeps its lease, and ends every task in the moment it comes, or holds it. It reads and sends batches,
 * as the nodes of the SDK do, and pings as often: what it costs the coordinator and the server is the same.
 */
import {
  BATCH_MAX,
  decode,
  decodeTasks,
  deregisterSubject,
  encode,
  Header,
  kvSubject,
  LEASES_BUCKET,
  lastTokenOf,
  nodeLeaseKey,
  nodeSubject,
  OutcomeAnswer,
  OutcomeBatchAnswer,
  outcomeSubject,
  outcomesSubject,
  registerSubject,
  syncSubject,
  tokenOf,
  Welcome,
} from "@swarm-mesh/protocol";
import { latch, systemClock } from "@swarm-mesh/runtime";
import { headerIn, Wire, type WireMessage } from "./wire.ts";

export interface FakeNodeOptions {
  readonly id: string;
  readonly url: string;
  readonly seed: Uint8Array;
  readonly slots: number;
  /** Tasks of {@link KEPT} are held for ever; those of any other end at once. */
  readonly capabilities: readonly string[];
}

/** A task that was given to the node. */
interface Given {
  readonly taskId: string;
  readonly capability: string;
  readonly attempt: number;
  readonly epoch: number;
}

/** What is told of a task that has ended. */
interface Outcome {
  readonly taskId: string;
  readonly attempt: number;
  readonly epoch: number;
  readonly ok: true;
  readonly result: "ok";
  readonly agent: "main";
}

interface Told {
  readonly outcome: Outcome;
  readonly sentAt: number;
}

export const KEPT = "keep";

/** As often as the connections of the SDK. */
const PING_INTERVAL_MS = 2_000;
/** An outcome that nobody answered is told again. */
const TELL_AGAIN_MS = 3_000;
/** The second token of where answers come: to an outcome, to a batch of them, to anything else. */
const ONE = "one";
const BATCH = "batch";
const ASKED = "asked";

export class FakeNode {
  readonly id: string;
  readonly #options: FakeNodeOptions;
  readonly #wire: Wire;
  readonly #unanswered = new Map<string, Told>();
  /** Outcomes of this turn. */
  #ended: Outcome[] = [];
  /** Batches of which no answer has come, by their serial number. */
  readonly #batches = new Map<string, readonly string[]>();
  readonly #asked = new Map<string, (answer: unknown) => void>();
  #serial = 0;
  readonly #held = new Set<string>();
  readonly #over = new AbortController();
  #incarnation = 0;
  #leaseTtlMs = 0;
  #leaseRevision = 0;
  #done = 0;
  #lost = 0;

  private constructor(wire: Wire, options: FakeNodeOptions) {
    this.id = options.id;
    this.#options = options;
    this.#wire = wire;
  }

  /** Connects and joins; resolves once it may be given tasks. */
  static async join(options: FakeNodeOptions): Promise<FakeNode> {
    const { id, url, seed } = options;
    const wire: Wire = await Wire.open({
      url,
      seed,
      name: `node/${id}`,
      onMessage: (message) => node.#hear(message),
    });
    const node = new FakeNode(wire, options);
    wire.subscribe(nodeSubject(id, "*"));
    wire.subscribe(`_INBOX_${id}.>`);
    await node.#join();
    void node.#keepLease();
    void node.#keepConnection();
    return node;
  }

  get counts() {
    return { done: this.#done, held: this.#held.size, lost: this.#lost };
  }

  /** Leaves in order, holding nothing. */
  async leave(): Promise<void> {
    this.#over.abort();
    for (const phase of ["leaving", "left"] as const) {
      await this.#ask(deregisterSubject(this.id), {
        incarnation: this.#incarnation,
        phase,
        reason: "bench",
      });
    }
    this.#wire.close();
  }

  close(): void {
    this.#over.abort();
    this.#wire.close();
  }

  async #join(): Promise<void> {
    const { capabilities, slots } = this.#options;
    const agents = [{ name: "main", capabilities, slots }];
    const answer = await this.#ask(registerSubject(this.id), {
      host: "bench",
      agents,
      batches: true,
    });
    const welcome = Welcome.parse(answer);
    this.#incarnation = welcome.incarnation;
    this.#leaseTtlMs = welcome.config.leaseTtlMs;
    await this.#ask(syncSubject(this.id), { hash: "" });
    this.#leaseRevision = 0;
    await this.#renew();
  }

  /** Renews the lease, and tells again what was not answered. */
  async #keepLease(): Promise<void> {
    const { signal } = this.#over;
    for (;;) {
      await systemClock.sleep(this.#leaseTtlMs / 3, signal);
      if (signal.aborted) return;
      void this.#renew().catch(() => undefined); // The next one tells.
      const latest = systemClock.elapsed() - TELL_AGAIN_MS;
      for (const { outcome, sentAt } of this.#unanswered.values()) {
        if (sentAt < latest) this.#tellOne(outcome);
      }
    }
  }

  async #keepConnection(): Promise<void> {
    const { signal } = this.#over;
    for (;;) {
      await systemClock.sleep(PING_INTERVAL_MS, signal);
      if (signal.aborted) return;
      this.#wire.ping();
    }
  }

  /** Writes the lease; a node that has lost it joins anew. */
  async #renew(): Promise<void> {
    const subject = kvSubject(LEASES_BUCKET.name, nodeLeaseKey(this.id));
    const expected = this.#leaseRevision;
    const headers = expected === 0 ? "" : `Nats-Expected-Last-Subject-Sequence: ${expected}\r\n`;
    const lease = {
      incarnation: this.#incarnation,
      running: this.#held.size,
      slots: this.#options.slots,
      rttMs: 0,
      lagMs: 0,
    };
    const ttl = `Nats-TTL: ${this.#leaseTtlMs / 1_000}s\r\n`;
    const answer = await this.#ask(subject, lease, ttl + headers);
    if (typeof answer === "object" && answer !== null && "seq" in answer) {
      this.#leaseRevision = Number(answer.seq);
      return;
    }
    this.#lost++;
    await this.#join();
  }

  /** The answer; `undefined`: nobody is there. */
  #ask(subject: string, body: unknown, headers = ""): Promise<unknown> {
    const serial = String(++this.#serial);
    const answered = latch<unknown>();
    this.#asked.set(serial, answered.resolve);
    this.#wire.publish(subject, encode(body), this.#answersTo(ASKED, serial), headers);
    return answered.promise;
  }

  #answersTo(kind: string, of: string): string {
    return `_INBOX_${this.id}.${kind}.${of}`;
  }

  #hear(message: WireMessage): void {
    const { subject, reply, headers, data } = message;
    if (subject.startsWith("_INBOX_")) {
      this.#told(subject, data);
      return;
    }
    const verb = lastTokenOf(subject);
    if (verb === "ping") {
      const pong = { incarnation: this.#incarnation, running: this.#held.size };
      this.#wire.publish(reply, encode(pong));
    }
    if (headerIn(headers, Header.incarnation) !== String(this.#incarnation)) return;
    const epoch = Number(headerIn(headers, Header.epoch));
    if (verb === "task") {
      this.#take({
        taskId: headerIn(headers, Header.taskId),
        capability: headerIn(headers, Header.capability),
        attempt: Number(headerIn(headers, Header.attempt)),
        epoch,
      });
      if (reply !== "") this.#wire.publish(reply, '{"answer":"running"}');
    }
    if (verb === "tasks") {
      const batch = decodeTasks(data);
      if ("problem" in batch) throw new Error(batch.problem);
      for (const { head } of batch.tasks) this.#take({ ...head, epoch });
    }
  }

  #take({ taskId, capability, attempt, epoch }: Given): void {
    if (capability === KEPT) {
      this.#held.add(taskId);
      return;
    }
    // Asked after a task whose outcome is on its way: once is enough.
    if (this.#unanswered.has(taskId)) return;
    this.#done++;
    const outcome: Outcome = { taskId, attempt, epoch, ok: true, result: "ok", agent: "main" };
    this.#unanswered.set(taskId, { outcome, sentAt: systemClock.elapsed() });
    // All messages that were read together are heard in one turn.
    if (this.#ended.push(outcome) === 1) queueMicrotask(() => this.#tell());
  }

  #tell(): void {
    const ended = this.#ended;
    this.#ended = [];
    for (let from = 0; from < ended.length; from += BATCH_MAX) {
      const batch = ended.slice(from, from + BATCH_MAX);
      const [only, second] = batch;
      if (only !== undefined && second === undefined) this.#tellOne(only);
      else this.#tellBatch(batch);
    }
  }

  #tellOne(outcome: Outcome): void {
    const { taskId, ...body } = outcome;
    this.#unanswered.set(taskId, { outcome, sentAt: systemClock.elapsed() });
    const reply = this.#answersTo(ONE, taskId);
    this.#wire.publish(outcomeSubject(this.id, taskId), encode(body), reply);
  }

  #tellBatch(batch: readonly Outcome[]): void {
    const serial = String(++this.#serial);
    this.#batches.set(
      serial,
      batch.map(({ taskId }) => taskId),
    );
    const reply = this.#answersTo(BATCH, serial);
    this.#wire.publish(outcomesSubject(this.id), encode(batch), reply);
  }

  /** An answer has come. Without a body: nobody listens, or the store does not. */
  #told(subject: string, data: Buffer): void {
    const kind = tokenOf(subject, 1);
    const of = tokenOf(subject, 2);
    if (kind === ASKED) {
      this.#asked.get(of)?.(data.length === 0 ? undefined : JSON.parse(data.toString()));
      this.#asked.delete(of);
    } else if (kind === ONE) {
      const answer = decode(OutcomeAnswer, data);
      // Nobody there, or busy: told again.
      if (answer.ok) this.#unanswered.delete(of);
    } else {
      this.#toldOfBatch(of, data);
    }
  }

  #toldOfBatch(serial: string, data: Buffer): void {
    const taskIds = this.#batches.get(serial) ?? [];
    this.#batches.delete(serial);
    const answer = decode(OutcomeBatchAnswer, data);
    // As above; each by itself.
    if (!answer.ok) return;
    for (const [index, said] of answer.value.answers.entries()) {
      const taskId = taskIds[index];
      if (taskId !== undefined && said !== "again") this.#unanswered.delete(taskId);
    }
  }
}
