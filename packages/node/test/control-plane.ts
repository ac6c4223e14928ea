import {
  type BatchedTask,
  CancelOrder,
  type Deregistration,
  DrainOrder,
  decode,
  encode,
  encodeTasks,
  Header,
  kvSubject,
  LEASES_BUCKET,
  type MeshState,
  NodeLease,
  nodeLeaseKey,
  nodeSubject,
  type Outcome,
  type OutcomeBatch,
  type Progress,
  Registration,
  tokenOf,
  wireError,
} from "@swarm-mesh/protocol";
import { headers, type Msg, type NatsConnection } from "nats";

/** An outcome as it arrived. */
export type Arrived = Outcome & { readonly nodeId: string; readonly taskId: string };

export interface DispatchOptions {
  readonly id: string;
  readonly capability: string;
  readonly payload?: string | Uint8Array;
  readonly attempt?: number;
  readonly epoch?: number;
  readonly incarnation?: number;
  readonly timeout?: string;
  readonly checkpoint?: string;
  readonly traceparent?: string;
}

/** The node's side of the protocol is tested against this: it answers what the services answer. */
export class ControlPlane {
  readonly nodeId: string;
  readonly registrations: Registration[] = [];
  readonly deregistrations: Deregistration[] = [];
  readonly outcomes = new Inbox<Arrived>();
  /** How many outcomes came in each request that had several. */
  readonly batches: number[] = [];
  readonly progress = new Inbox<Progress & { readonly taskId: string }>();
  readonly leases = new Inbox<NodeLease>();
  /** What the registry answers; a refusal's code, or `undefined` for a welcome. */
  refuse: "id_in_use" | "bad_request" | undefined;
  /** What the coordinator answers to an outcome. */
  answerOutcome: (outcome: Arrived) => unknown = () => ({ answer: "recorded" });
  /** What the coordinator tells of the mesh. */
  state: MeshState = { leader: { instance: "c1", epoch: 1 }, nodes: [] };
  incarnation = 0;
  leaseTtlMs = 6_000;
  readonly #nc: NatsConnection;

  constructor(nc: NatsConnection, nodeId: string) {
    this.#nc = nc;
    this.nodeId = nodeId;
    this.#answer("mesh.registry.register.*", (message) => this.#register(message));
    this.#answer("mesh.registry.deregister.*", (message) => {
      this.deregistrations.push(message.json<Deregistration>());
      return {};
    });
    this.#answer("mesh.coordinator.sync.*", (message) => {
      const hash = encode(this.state).slice(0, 60);
      const same = message.json<{ hash: string }>().hash === hash;
      return same ? { same, hash } : { same, hash, state: this.state };
    });
    this.#answer("mesh.tasks.outcome.>", (message) => {
      const outcome = {
        ...message.json<Outcome>(),
        nodeId: tokenOf(message.subject, 3),
        taskId: tokenOf(message.subject, 4),
      };
      this.outcomes.put(outcome);
      return this.answerOutcome(outcome);
    });
    this.#answer("mesh.tasks.outcomes.*", (message) => {
      const nodeId = tokenOf(message.subject, 3);
      const outcomes = message.json<OutcomeBatch>().map((outcome) => ({ ...outcome, nodeId }));
      this.batches.push(outcomes.length);
      for (const outcome of outcomes) this.outcomes.put(outcome);
      const answers = outcomes.map((one) => this.answerOutcome(one) as { answer?: string });
      return { answers: answers.map(({ answer }) => answer ?? "again") };
    });
    this.#answer("mesh.tasks.progress.>", (message) => {
      this.progress.put({ ...message.json<Progress>(), taskId: tokenOf(message.subject, 4) });
      return undefined;
    });
    this.#answer(kvSubject(LEASES_BUCKET.name, nodeLeaseKey("*")), (message) => {
      const lease = decode(NodeLease, message.data);
      if (lease.ok) this.leases.put(lease.value);
      return undefined;
    });
  }

  /** Sends a task. Resolves with the node's answer, `undefined` when there was none within the time. */
  async dispatch(options: DispatchOptions, waitMs = 1_000): Promise<unknown> {
    const h = headers();
    h.set(Header.taskId, options.id);
    h.set(Header.attempt, String(options.attempt ?? 1));
    h.set(Header.epoch, String(options.epoch ?? 1));
    h.set(Header.incarnation, String(options.incarnation ?? this.incarnation));
    h.set(Header.capability, options.capability);
    if (options.timeout !== undefined) h.set(Header.timeout, options.timeout);
    if (options.traceparent !== undefined) h.set(Header.traceparent, options.traceparent);
    if (options.checkpoint !== undefined) {
      h.set(Header.checkpoint, Buffer.from(options.checkpoint).toString("base64"));
    }
    return this.request("task", options.payload ?? "", waitMs, h);
  }

  /** Sends a task and does not wait for the answer that a short one does not get. */
  send(options: DispatchOptions): void {
    void this.dispatch(options, 200);
  }

  /** Sends tasks in one message, which nobody answers. */
  give(tasks: readonly BatchedTask[], epoch = 1, incarnation = this.incarnation): void {
    const h = headers();
    h.set(Header.epoch, String(epoch));
    h.set(Header.incarnation, String(incarnation));
    this.#nc.publish(nodeSubject(this.nodeId, "tasks"), encodeTasks(tasks), { headers: h });
  }

  cancel(order: Partial<CancelOrder> & { readonly taskId: string }): Promise<unknown> {
    const full = CancelOrder.parse({ attempt: 1, epoch: 1, graceMs: 300, ...order });
    return this.request("cancel", encode(full));
  }

  ping(): Promise<unknown> {
    return this.request("ping", "", 500);
  }

  drain(order: Partial<DrainOrder> = {}): Promise<unknown> {
    return this.request("drain", encode(DrainOrder.parse(order)));
  }

  async request(
    verb: "task" | "tasks" | "ping" | "drain" | "cancel",
    body: string | Uint8Array,
    waitMs = 1_000,
    h = headers(),
  ): Promise<unknown> {
    try {
      const options = { timeout: waitMs, headers: h };
      const reply = await this.#nc.request(nodeSubject(this.nodeId, verb), body, options);
      return reply.json();
    } catch (error) {
      return /no responders/i.test(String(error)) ? "no responders" : undefined;
    }
  }

  /** Writes the node's lease as someone else would. */
  async steal(): Promise<void> {
    const lease = { incarnation: 999, running: 0, slots: 0, rttMs: 0, lagMs: 0 };
    await this.#nc.request(kvSubject(LEASES_BUCKET.name, nodeLeaseKey(this.nodeId)), encode(lease));
  }

  #register(message: Msg): unknown {
    const registration = decode(Registration, message.data);
    if (!registration.ok) return { error: wireError("bad_request", registration.problem) };
    this.registrations.push(registration.value);
    if (this.refuse !== undefined) return { error: wireError(this.refuse, "not this one") };
    this.incarnation += 10;
    return {
      incarnation: this.incarnation,
      leader: this.state.leader,
      peers: [],
      config: { leaseTtlMs: this.leaseTtlMs },
    };
  }

  #answer(subject: string, handle: (message: Msg) => unknown): void {
    this.#nc.subscribe(subject, {
      callback: (error, message) => {
        if (error !== null) return;
        const value = handle(message);
        if (value !== undefined) message.respond(encode(value));
      },
    });
  }
}

/** What arrived and was not taken yet. */
class Inbox<T> {
  readonly all: T[] = [];
  readonly #waiting: ((value: T) => void)[] = [];
  #taken = 0;

  put(value: T): void {
    this.all.push(value);
    const waiting = this.#waiting.shift();
    if (waiting === undefined) return;
    this.#taken++;
    waiting(value);
  }

  /** The next that was not taken, waited for. */
  next(): Promise<T> {
    const value = this.all[this.#taken];
    if (value !== undefined) {
      this.#taken++;
      return Promise.resolve(value);
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

/** The code of a refusal. */
export function codeOf(answer: unknown): string | undefined {
  return (answer as { error?: { code: string } } | undefined)?.error?.code;
}
