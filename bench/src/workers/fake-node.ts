/**
 * A node by plain NATS, as docs/protocol.md tells it, of which one process can be hundreds: it joins,
 * keeps its lease, and ends every task in the moment it comes, or holds it.
 */
import { openConnection } from "@swarm-mesh/bus";
import {
  deregisterSubject,
  encode,
  Header,
  kvSubject,
  LEASES_BUCKET,
  lastTokenOf,
  nodeLeaseKey,
  nodeSubject,
  outcomeSubject,
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

interface Outcome {
  readonly subject: string;
  readonly body: string;
  readonly sentAt: number;
}

export const KEPT = "keep";

const ASK_TIMEOUT_MS = 10_000;
/** An outcome that nobody answered is told again. */
const TELL_AGAIN_MS = 3_000;

export class FakeNode {
  readonly id: string;
  readonly #options: FakeNodeOptions;
  readonly #nc: NatsConnection;
  readonly #unanswered = new Map<string, Outcome>();
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
    nc.subscribe(`_INBOX_${id}.told.*`, { callback: (_error, message) => node.#told(message) });
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
    for (const [taskId, outcome] of this.#unanswered) {
      if (now - outcome.sentAt > TELL_AGAIN_MS) this.#tell(taskId, outcome.subject, outcome.body);
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
    const answer = await this.#ask(registerSubject(this.id), { host: "bench", agents });
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
    if (verb !== "task" || h?.get(Header.incarnation) !== String(this.#incarnation)) return;
    const taskId = h.get(Header.taskId);
    message.respond('{"answer":"running"}');
    if (h.get(Header.capability) === KEPT) {
      this.#held.add(taskId);
      return;
    }
    this.#done++;
    const attempt = Number(h.get(Header.attempt));
    const epoch = Number(h.get(Header.epoch));
    const outcome = { attempt, epoch, ok: true, result: "ok", agent: "main" };
    this.#tell(taskId, outcomeSubject(this.id, taskId), encode(outcome));
  }

  #tell(taskId: string, subject: string, body: string): void {
    this.#unanswered.set(taskId, { subject, body, sentAt: systemClock.elapsed() });
    this.#nc.publish(subject, body, { reply: `_INBOX_${this.id}.told.${taskId}` });
  }

  #told(message: Msg): void {
    const { answer } = message.json<{ answer?: string }>();
    if (answer === "recorded" || answer === "stale") {
      this.#unanswered.delete(tokenOf(message.subject, 2));
    }
  }
}
