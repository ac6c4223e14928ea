import { bucketStream } from "@swarm-mesh/bus";
import {
  decodeTasks,
  encode,
  Header,
  kvSubject,
  LEASES_BUCKET,
  NODES_BUCKET,
  type NodeRecord,
  type NodeState,
  nodeLeaseKey,
  nodeSubject,
  outcomeSubject,
  outcomesSubject,
  TASKS_BUCKET,
  type TaskRecord,
} from "@swarm-mesh/protocol";
import type { Deps } from "@swarm-mesh/testkit";
import { headers, type Msg, type MsgHdrs } from "nats";

/** A task as a node hears of it. */
export interface Given {
  readonly id: string;
  readonly attempt: number;
  readonly epoch: number;
  readonly headers: MsgHdrs;
  readonly payload: string;
  readonly message: Msg;
}

/** A node in plain NATS: a record, a lease, and a subscription. It does only what the test says. */
export class PlainNode {
  readonly id: string;
  readonly #deps: Deps;
  readonly #given: Given[] = [];
  #waiting: ((given: Given) => void)[] = [];
  #unsubscribe: () => void = () => undefined;
  readonly incarnation: number;
  /** How many tasks each batch had. */
  readonly batches: number[] = [];

  private constructor(deps: Deps, id: string, incarnation: number) {
    this.#deps = deps;
    this.id = id;
    this.incarnation = incarnation;
  }

  static async join(
    deps: Deps,
    id: string,
    options: {
      slots?: number;
      capabilities?: string[];
      labels?: Record<string, string>;
      incarnation?: number;
      batches?: boolean;
    } = {},
  ): Promise<PlainNode> {
    const node = new PlainNode(deps, id, options.incarnation ?? 1);
    node.listen();
    const capabilities = options.capabilities ?? ["echo"];
    const slots = options.slots ?? 4;
    await node.setState("ACTIVE", {
      agents: [{ name: "main", capabilities, slots }],
      capabilities,
      slots,
      labels: options.labels ?? {},
      batches: options.batches ?? false,
    });
    const lease = { incarnation: node.incarnation, running: 0, slots, rttMs: 0.3, lagMs: 0 };
    await deps.requester.stored(kvSubject(LEASES_BUCKET.name, nodeLeaseKey(id)), encode(lease));
    return node;
  }

  #record: Partial<NodeRecord> = {};

  async setState(state: NodeState, more: Partial<NodeRecord> = {}): Promise<void> {
    this.#record = { ...this.#record, ...more };
    const record = {
      id: this.id,
      incarnation: this.incarnation,
      state,
      reason: "",
      host: "h",
      port: 0,
      role: "worker",
      cpu: 1,
      memoryBytes: 0,
      version: "",
      costPerHour: 0,
      joinedAt: "2026-01-01T00:00:00.000Z",
      updatedAt: "2026-01-01T00:00:00.000Z",
      ...this.#record,
    };
    await this.#deps.requester.stored(kvSubject(NODES_BUCKET.name, this.id), encode(record));
  }

  listen(): void {
    const { nc } = this.#deps;
    const one = nc.subscribe(nodeSubject(this.id, "task"), {
      callback: (_, message) => this.#receive(message),
    });
    const many = nc.subscribe(nodeSubject(this.id, "tasks"), {
      callback: (_, message) => this.#receiveBatch(message),
    });
    this.#unsubscribe = () => {
      one.unsubscribe();
      many.unsubscribe();
    };
  }

  /** As if killed: nobody answers any more. */
  vanish(): void {
    this.#unsubscribe();
  }

  #receive(message: Msg): void {
    const h = message.headers ?? headers();
    this.#take({
      id: h.get(Header.taskId),
      attempt: Number(h.get(Header.attempt)),
      epoch: Number(h.get(Header.epoch)),
      headers: h,
      payload: message.string(),
      message,
    });
  }

  #receiveBatch(message: Msg): void {
    const h = message.headers ?? headers();
    const batch = decodeTasks(message.data);
    if ("problem" in batch) throw new Error(batch.problem);
    this.batches.push(batch.tasks.length);
    for (const { head, payload } of batch.tasks) {
      this.#take({
        id: head.taskId,
        attempt: head.attempt,
        epoch: Number(h.get(Header.epoch)),
        headers: h,
        payload: new TextDecoder().decode(payload),
        message,
      });
    }
  }

  #take(given: Given): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#given.push(given);
    else waiting(given);
  }

  /** The next task it is given. */
  next(): Promise<Given> {
    const given = this.#given.shift();
    if (given !== undefined) return Promise.resolve(given);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Tasks it was given and the test has not looked at. */
  get unseen(): number {
    return this.#given.length;
  }

  accept(given: Given): void {
    given.message.respond(encode({ answer: "running" }));
  }

  /** Reports an outcome; the answer is `recorded`, `stale`, or a refusal's code. */
  async report(given: Given, outcome: object): Promise<string> {
    return this.reportAs(given.id, { attempt: given.attempt, epoch: given.epoch, ...outcome });
  }

  /** Reports outcomes in one request; the answers, in their order. */
  async reportAll(outcomes: readonly object[]): Promise<unknown> {
    const subject = outcomesSubject(this.id);
    const reply = await this.#deps.requester.request(subject, encode(outcomes));
    return reply.kind === "message" ? reply.message.json() : reply.kind;
  }

  async reportAs(taskId: string, body: object): Promise<string> {
    const reply = await this.#deps.requester.request(outcomeSubject(this.id, taskId), encode(body));
    if (reply.kind !== "message") return reply.kind;
    const answer = reply.message.json<{ answer?: string; error?: { code: string } }>();
    return answer.answer ?? answer.error?.code ?? "?";
  }
}

/** The task's record once `wanted` holds for it. Hears each change as anyone may: by plain NATS. */
export async function recordWhen(
  deps: Deps,
  taskId: string,
  wanted: (record: TaskRecord) => boolean,
): Promise<TaskRecord> {
  const subscription = deps.nc.subscribe(`mesh.tasks.state.${taskId}`);
  try {
    await deps.nc.flush();
    const stored = await deps.manager.streams.getMessage(bucketStream(TASKS_BUCKET), {
      last_by_subj: kvSubject(TASKS_BUCKET.name, taskId),
    });
    if (stored !== null && wanted(stored.json<TaskRecord>())) return stored.json<TaskRecord>();
    for await (const message of subscription) {
      const record = message.json<TaskRecord>();
      if (wanted(record)) return record;
    }
    throw new Error("the connection closed");
  } finally {
    subscription.unsubscribe();
  }
}

/** Submits with plain NATS; the stream sequence. */
export async function submit(
  deps: Deps,
  subject: string,
  payload: string | Uint8Array,
  h: Record<string, string> = {},
): Promise<number> {
  const hs = headers();
  for (const [name, value] of Object.entries(h)) hs.set(name, value);
  const stored = await deps.requester.stored(subject, payload, { headers: hs });
  if (stored.kind !== "stored") throw new Error(`submit: ${encode(stored)}`);
  return stored.revision;
}
