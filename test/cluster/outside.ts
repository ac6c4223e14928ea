/** A whole mesh as strangers see it: plain NATS, any bytes, any header, and a node made by hand. */
import { setTimeout as sleep } from "node:timers/promises";
import { isFinal, type TaskStatus } from "@swarm-mesh/protocol";
import { isAlive, Mesh } from "@swarm-mesh/testkit";
import { headers, type Msg, type NatsConnection, type Payload } from "nats";
import { test as base, expect } from "vitest";

/** Header names and values; a list is the same header several times. */
export type HeaderList = Readonly<Record<string, string | readonly string[]>>;

/** What a stranger can look at of an answer: a record, a PubAck, a refusal, a list. */
export interface Answer {
  readonly error?: {
    readonly code: string | number;
    readonly err_code?: number;
    readonly message?: string;
    readonly description?: string;
  };
  readonly [field: string]: unknown;
}

/** Programs of the mesh itself, as the server knows their connections; ours are `test/…`. */
const OWN_CONNECTION = /^(registry|coordinator|health-monitor|migrator|node)\//;
const ANSWER_TIMEOUT_MS = 5_000;
const FINAL_TIMEOUT_MS = 15_000;
const LEASE_TTL = "6s";
const RELOAD_MS = 250;

export class Outside {
  readonly mesh: Mesh;
  readonly client: NatsConnection;
  readonly viewer: NatsConnection;
  readonly admin: NatsConnection;
  /** A node's connection, and no program behind it. */
  readonly raw: NatsConnection;
  /** Connections of the mesh that were lost, as the server said. */
  readonly #lost: string[] = [];
  #leader: unknown;
  #serial = 0;

  private constructor(mesh: Mesh, of: Record<string, NatsConnection>) {
    const { client, viewer, admin, raw1 } = of;
    if (!client || !viewer || !admin || !raw1) throw new Error("a connection is missing");
    this.mesh = mesh;
    this.client = client;
    this.viewer = viewer;
    this.admin = admin;
    this.raw = raw1;
  }

  static async start(): Promise<Outside> {
    const handles = ["echo=cat", "slow=sleep 30"];
    const mesh = await Mesh.start({ nodes: 3, replicas: 2, handles });
    const added = await mesh.swarmctl("keys", "add", "raw1", "--dir", mesh.dir);
    expect(added).toMatchObject({ status: 0 });
    mesh.kill("nats-server", "SIGHUP");
    await sleep(RELOAD_MS);
    const of: Record<string, NatsConnection> = {};
    for (const user of ["client", "viewer", "admin", "raw1"]) of[user] = await mesh.connect(user);
    const outside = new Outside(mesh, of);
    outside.admin.subscribe("$SYS.ACCOUNT.*.DISCONNECT", {
      callback: (_, message) => outside.#hearLoss(message),
    });
    await outside.admin.flush();
    // Its first renewal tells its epoch.
    await expect.poll(() => outside.leader().then(({ epoch }) => epoch)).toBeGreaterThan(0);
    outside.#leader = await outside.leader();
    return outside;
  }

  /** A request with any bytes and headers; the answer as JSON. Rejects as the client does. */
  async ask(
    nc: NatsConnection,
    subject: string,
    payload: Payload = "",
    list: HeaderList = {},
  ): Promise<Answer> {
    const h = headers();
    for (const [name, values] of Object.entries(list)) {
      for (const value of [values].flat()) h.append(name, value);
    }
    const reply = await nc.request(subject, payload, { headers: h, timeout: ANSWER_TIMEOUT_MS });
    return reply.json<Answer>();
  }

  /** Submits as a client; the task's id. Fails when the stream does not take it. */
  async submit(subject: string, payload: Payload = "", list: HeaderList = {}): Promise<string> {
    const ack = await this.ask(this.client, `mesh.tasks.submit.${subject}`, payload, list);
    expect(ack, subject.slice(0, 80)).toMatchObject({ stream: "MESH_TASKS" });
    const [asked] = [list["Nats-Msg-Id"] ?? ""].flat();
    return asked !== undefined && /^[A-Za-z0-9_-]{1,64}$/.test(asked) ? asked : `s${ack["seq"]}`;
  }

  /** Publishes a submit whose header block is these bytes, as no library would write them. */
  async submitBlock(subject: string, block: string): Promise<Answer> {
    const h = Object.assign(headers(), { encode: () => Buffer.from(block, "latin1") });
    const options = { headers: h, timeout: ANSWER_TIMEOUT_MS };
    return (await this.client.request(`mesh.tasks.submit.${subject}`, "1", options)).json();
  }

  get(id: string): Promise<Answer> {
    return this.ask(this.client, `mesh.tasks.get.${id}`);
  }

  /** The task's record once it is as wanted; by default once it is final. */
  async record(
    id: string,
    wanted: (status: TaskStatus) => boolean = isFinal,
    timeoutMs = FINAL_TIMEOUT_MS,
  ): Promise<Answer> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const record = await this.get(id);
      if (record["status"] !== undefined && wanted(record["status"] as TaskStatus)) return record;
      if (performance.now() > deadline) {
        throw new Error(
          `${id} is ${JSON.stringify(record)} after ${timeoutMs} ms\n${this.mesh.log}`,
        );
      }
      await sleep(20);
    }
  }

  /** Submits, and expects the record to be `rejected` with this code and each of these words. */
  async rejected(subject: string, list: HeaderList, code: string, words: string[]): Promise<void> {
    const id = await this.submit(subject, "{}", list);
    const record = await this.record(id);
    expect(record).toMatchObject({ status: "rejected", attempt: 0, error: { code } });
    for (const word of words) expect(record.error?.message).toContain(word);
  }

  /** A task that anyone would submit runs; no process died, reconnected or lost its lead. */
  async unharmed(): Promise<void> {
    const id = await this.submit("echo", '"good"', { "Nats-Msg-Id": `good-${this.#serial++}` });
    expect(await this.record(id)).toMatchObject({ status: "succeeded", result: "good" });
    const dead = this.mesh.processes.filter(({ pid }) => !isAlive(pid)).map(({ name }) => name);
    expect(dead).toEqual([]);
    expect(this.#lost).toEqual([]);
    expect(await this.leader(), "the coordinator that leads").toEqual(this.#leader);
  }

  /** Who leads the coordinators, as its lease says. */
  async leader(): Promise<{ readonly instance: unknown; readonly epoch: unknown }> {
    const lease = await this.ask(this.admin, "$JS.API.DIRECT.GET.KV_mesh_leases", LEADER_KEY);
    expect(lease).toMatchObject({ instance: expect.any(String), epoch: expect.any(Number) });
    return { instance: lease["instance"], epoch: lease["epoch"] };
  }

  /** A living node made by hand: registered, with a lease, answering pings. */
  async rawNode(): Promise<RawNode> {
    return RawNode.start(this);
  }

  #hearLoss(message: Msg): void {
    const { client } = message.json<{ client: { name?: string } }>();
    if (OWN_CONNECTION.test(client.name ?? "")) this.#lost.push(client.name ?? "");
  }
}

const LEADER_KEY = JSON.stringify({ last_by_subj: "$KV.mesh_leases.leader.coordinator" });

/** A try that a raw node was sent. */
export interface Sent {
  readonly attempt: number;
  readonly epoch: number;
}

export const RAW_REGISTRATION = {
  host: "nowhere",
  agents: [{ name: "hand", capabilities: ["raw"], slots: 8 }],
};

/** The node `raw1`, which takes what it is sent and does nothing with it. */
export class RawNode {
  readonly incarnation: number;
  readonly #outside: Outside;
  readonly #tasks = new Map<string, Sent>();
  #stop: () => Promise<void> = async () => undefined;

  private constructor(outside: Outside, incarnation: number) {
    this.#outside = outside;
    this.incarnation = incarnation;
  }

  static async start(outside: Outside): Promise<RawNode> {
    const { raw } = outside;
    const body = JSON.stringify(RAW_REGISTRATION);
    const welcome = await outside.ask(raw, "mesh.registry.register.raw1", body);
    const node = new RawNode(outside, Number(welcome["incarnation"]));
    const subscription = raw.subscribe("mesh.node.raw1.*", {
      callback: (_, message) => node.#hear(message),
    });
    await raw.flush();
    await node.renew();
    const renewing = setInterval(() => void node.renew(), 1_500);
    node.#stop = async () => {
      clearInterval(renewing);
      const left = JSON.stringify({ incarnation: node.incarnation });
      await outside.ask(raw, "mesh.registry.deregister.raw1", left);
      subscription.unsubscribe();
    };
    return node;
  }

  /** Writes its lease, as this life or as another one. */
  renew(incarnation = this.incarnation): Promise<Answer> {
    const lease = { incarnation, running: 0, slots: 8, rttMs: 1, lagMs: 0 };
    const subject = "$KV.mesh_leases.node.raw1";
    return this.#outside.ask(this.#outside.raw, subject, JSON.stringify(lease), {
      "Nats-TTL": LEASE_TTL,
    });
  }

  /** Submits a task for this node; the try it is sent. */
  async task(id: string): Promise<Sent> {
    await this.#outside.submit("raw", "{}", { "Nats-Msg-Id": id });
    for (let looks = 0; looks < 250; looks++) {
      const sent = this.#tasks.get(id);
      if (sent !== undefined) return sent;
      await sleep(20);
    }
    throw new Error(`${id} was never sent\n${this.#outside.mesh.log}`);
  }

  outcome(id: string, body: Payload): Promise<Answer> {
    return this.#outside.ask(this.#outside.raw, `mesh.tasks.outcome.raw1.${id}`, body);
  }

  async leave(): Promise<void> {
    await this.#stop();
  }

  #hear(message: Msg): void {
    if (message.subject.endsWith(".ping")) {
      message.respond(JSON.stringify({ incarnation: this.incarnation, running: 0 }));
    } else if (message.subject.endsWith(".task")) {
      const [attempt, epoch] = ["Mesh-Attempt", "Mesh-Epoch"].map((name) =>
        Number(message.headers?.get(name)),
      );
      const id = message.headers?.get("Mesh-Task-Id") ?? "";
      this.#tasks.set(id, { attempt: attempt ?? 0, epoch: epoch ?? 0 });
      message.respond('{"answer":"running"}');
    }
  }
}

/** Vitest's `test` with one mesh for the whole file. */
export const test = base.extend<{ outside: Outside }>({
  outside: [
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
    async ({}, use) => {
      const outside = await Outside.start();
      await use(outside);
      await outside.mesh.stop();
    },
    { scope: "file" },
  ],
});
