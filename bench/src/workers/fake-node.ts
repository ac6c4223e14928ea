/**
 * A node by plain NATS, as docs/protocol.md tells it, of which one process can be hundreds: it joins,
 * keeps its lease, and ends every task in the moment it comes, or holds it. It reads and sends batches,
 * as the nodes of the SDK do: what it costs the coordinator and the server is the same.
 */
import { openConnection } from "@swarm-mesh/bus";
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
  OutcomeBatchAnswer,
  outcomeSubject,
  outcomesSubject,
  registerSubject,
  syncSubject,
  tokenOf,
  Welcome,
} from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import { headers, type Msg, type NatsConnection } from "nats";

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

const ASK_TIMEOUT_MS = 10_000;
/** An outcome that nobody answered is told again. */
const TELL_AGAIN_MS = 3_000;
/** The last token but one of where answers to outcomes come: to one, or to a batch. */
const ONE = "one";
const BATCH = "batch";

export class FakeNode {
  readonly id: string;
  readonly #options: FakeNodeOptions;
  readonly #nc: NatsConnection;
  readonly #unanswered = new Map<string, Told>();
  /** Outcomes of this turn. */
  #ended: Outcome[] = [];
  /** Batches of which no answer has come, by their serial number. */
  readonly #batches = new Map<string, readonly string[]>();
  #serial = 0;
  readonly #held = new Set<string>();
  #incarnation = 0;
  #leaseTtlMs = 0;
  #leaseRevision = 0;
  #renewAt = 0;
  #done = 0;
  #lost = 0;

  private constructor(nc: NatsConnection, options: FakeNodeOptions) {
    this.id = options.id;
    this.#options = options;
    this.#nc = nc;
  }

  /** Connects and joins; resolves once it may be given tasks. */
  static async join(options: FakeNodeOptions): Promise<FakeNode> {
    const { id, url, seed } = options;
    const nc = await openConnection({ servers: url, seed, name: `node/${id}`, inbox: id });
    const node = new FakeNode(nc, options);
    nc.subscribe(nodeSubject(id, "*"), { callback: (_error, message) => node.#hear(message) });
    nc.subscribe(`_INBOX_${id}.told.*.*`, { callback: (_error, message) => node.#told(message) });
    await node.#join();
    return node;
  }

  get counts() {
    return { done: this.#done, held: this.#held.size, lost: this.#lost };
  }

  /** What is due: the lease's renewal, and outcomes that were not answered. Called often. */
  tick(now: number): void {
    if (now >= this.#renewAt) {
      this.#renewAt = now + this.#leaseTtlMs / 3;
      void this.#renew().catch(() => undefined); // The next one tells.
    }
    for (const { outcome, sentAt } of this.#unanswered.values()) {
      if (now - sentAt > TELL_AGAIN_MS) this.#tellOne(outcome);
    }
  }

  /** Leaves in order, holding nothing. */
  async leave(): Promise<void> {
    for (const phase of ["leaving", "left"] as const) {
      await this.#ask(deregisterSubject(this.id), {
        incarnation: this.#incarnation,
        phase,
        reason: "bench",
      });
    }
    await this.#nc.close();
  }

  close(): Promise<void> {
    return this.#nc.close();
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
    this.#leaseRevision = 0;
    await this.#ask(syncSubject(this.id), { hash: "" });
    await this.#renew();
    // Spread, so that a fleet that joined together does not renew together.
    this.#renewAt =
      systemClock.elapsed() + (this.#leaseTtlMs / 3) * ((this.#incarnation % 64) / 64);
  }

  /** Writes the lease; a node that has lost it joins anew. */
  async #renew(): Promise<void> {
    const h = headers();
    h.set("Nats-TTL", `${this.#leaseTtlMs / 1_000}s`);
    if (this.#leaseRevision > 0) {
      h.set("Nats-Expected-Last-Subject-Sequence", String(this.#leaseRevision));
    }
    const { slots } = this.#options;
    const lease = {
      incarnation: this.#incarnation,
      running: this.#held.size,
      slots,
      rttMs: 0,
      lagMs: 0,
    };
    const subject = kvSubject(LEASES_BUCKET.name, nodeLeaseKey(this.id));
    const ack = await this.#ask(subject, lease, h);
    if (typeof ack === "object" && ack !== null && "seq" in ack) {
      this.#leaseRevision = Number(ack.seq);
      return;
    }
    this.#lost++;
    await this.#join();
  }

  async #ask(subject: string, body: unknown, h = headers()): Promise<unknown> {
    const options = { timeout: ASK_TIMEOUT_MS, headers: h };
    return (await this.#nc.request(subject, encode(body), options)).json();
  }

  #hear(message: Msg): void {
    const verb = lastTokenOf(message.subject);
    if (verb === "ping") {
      message.respond(encode({ incarnation: this.#incarnation, running: this.#held.size }));
    }
    const h = message.headers;
    if (h?.get(Header.incarnation) !== String(this.#incarnation)) return;
    const epoch = Number(h.get(Header.epoch));
    if (verb === "task") {
      this.#take({
        taskId: h.get(Header.taskId),
        capability: h.get(Header.capability),
        attempt: Number(h.get(Header.attempt)),
        epoch,
      });
      message.respond('{"answer":"running"}');
    }
    if (verb === "tasks") {
      const batch = decodeTasks(message.data);
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
    this.#publish(outcomeSubject(this.id, taskId), body, `${ONE}.${taskId}`);
  }

  #tellBatch(batch: readonly Outcome[]): void {
    const serial = String(++this.#serial);
    this.#batches.set(
      serial,
      batch.map(({ taskId }) => taskId),
    );
    this.#publish(outcomesSubject(this.id), batch, `${BATCH}.${serial}`);
  }

  #publish(subject: string, body: unknown, answerTo: string): void {
    this.#nc.publish(subject, encode(body), { reply: `_INBOX_${this.id}.told.${answerTo}` });
  }

  #told(message: Msg): void {
    const of = tokenOf(message.subject, 3);
    if (tokenOf(message.subject, 2) === ONE) {
      const { answer } = message.json<{ answer?: string }>();
      if (answer === "recorded" || answer === "stale") this.#unanswered.delete(of);
      return;
    }
    const taskIds = this.#batches.get(of) ?? [];
    this.#batches.delete(of);
    const answer = decode(OutcomeBatchAnswer, message.data);
    // Nobody there, or busy: each is told again by itself.
    if (!answer.ok) return;
    for (const [index, said] of answer.value.answers.entries()) {
      const taskId = taskIds[index];
      if (taskId !== undefined && said !== "again") this.#unanswered.delete(taskId);
    }
  }
}
