/**
 * A small mesh in which something happens, recorded for the checker. A mutant may keep any of it
 * from happening: waiting is bounded, and what did not come is noted and not thrown.
 */
import { type ChildProcess, fork } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Bucket, openManager, type Reply, Requester } from "@swarm-mesh/bus";
import { Checker, readHistory, type Verdict } from "@swarm-mesh/checker";
import {
  CHECKPOINTS_BUCKET,
  checkpointKey,
  decode,
  Header,
  isFinal,
  LEASES_BUCKET,
  LeaderLease,
  leaderLeaseKey,
  moveSubject,
  NodeRecord,
  nodeStateSubject,
  nodeSubject,
  OutcomeAnswer,
  outcomeSubject,
  submitSubject,
  TaskRecord,
} from "@swarm-mesh/protocol";
import { Mesh, type MeshOptions } from "@swarm-mesh/testkit";
import { headers, type NatsConnection } from "nats";
import { Recorder } from "../faults/src/recorder.ts";

const HANDLER = join(import.meta.dirname, "handlers", "told.js");
const SUBMITTER = join(import.meta.dirname, "handlers", "submitter.js");
const POLL_MS = 5;
/** How long the mesh may take for one thing when it is no mutant. */
const CONTROL_PATIENCE_MS = 30_000;
const MUTANT_PATIENCE_MS = 8_000;
/** What a mutant has once kept from happening seldom lets the rest happen. */
const SPENT_PATIENCE_MS = 2_000;
/** Some mutants never come to rest: two leaders undo what the other does. */
const MUTANT_SETTLE_MS = 12_000;
/** A mutant in which nothing has happened for so long is at rest, whatever is unfinished. */
const QUIET_MS = 3_000;
/** Leases are short here, and so is what a fault may leave behind. */
const MARGINS = { faultMs: 2_500 } as const;

/** A line that the handler wrote. */
interface Told {
  readonly what: "started" | "ended";
  readonly task: string;
  readonly attempt: number;
  readonly from?: number;
}

/** What the handler does with a task. */
export interface Work {
  readonly steps?: number;
  readonly ms?: number;
  /** Goes on until {@link Scene.open} is called with this name. */
  readonly gate?: string;
  /** Attempts that throw. */
  readonly fail?: readonly number[];
  /** They throw for good. */
  readonly final?: boolean;
}

export class Scene {
  readonly mesh: Mesh;
  /** What did not happen in time. */
  readonly missed: string[] = [];
  readonly nodes = new Map<string, NodeRecord>();
  readonly #dir: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #patient: boolean;
  readonly #connections = new Map<string, Promise<NatsConnection>>();
  readonly #requesters = new Map<string, Requester>();
  readonly #submitted: string[] = [];
  /** The newest record of each task. */
  readonly #records = new Map<string, TaskRecord>();
  #recorder: Recorder | undefined;
  #submitter: ChildProcess | undefined;

  private constructor(
    mesh: Mesh,
    parts: { dir: string; env: Readonly<Record<string, string>>; patient: boolean },
  ) {
    this.mesh = mesh;
    this.#dir = parts.dir;
    this.#env = parts.env;
    this.#patient = parts.patient;
  }

  /** `mutant`: the environment of every process, when it is none of the mesh as it should be. */
  static async start(options: MeshOptions, mutant?: Record<string, string>): Promise<Scene> {
    const dir = await mkdtemp(join(tmpdir(), "mesh-mutant-"));
    const env = { ...options.env, ...mutant, MESH_TRACE: join(dir, "trace.jsonl") };
    const handles = [`work=module:${HANDLER}`];
    const mesh = await Mesh.start({ handles, ...options, env });
    const scene = new Scene(mesh, { dir, env, patient: mutant === undefined });
    scene.#recorder = await Recorder.start({
      connect: (user) => mesh.connect(user),
      file: join(dir, "history.jsonl"),
      tracedCapabilities: ["work"],
      onRecord: (record) => scene.#records.set(record.id, record),
    });
    const admin = await scene.#connection("admin");
    admin.subscribe(nodeStateSubject("*"), {
      callback: (_, message) => {
        const record = decode(NodeRecord, message.data);
        if (record.ok) scene.nodes.set(record.value.id, record.value);
      },
    });
    await admin.flush();
    return scene;
  }

  // ── What clients do ───────────────────────────────────────────────────────────────────────────

  /** Submits a task without an id, and gives the one that the mesh calls it by. */
  async submitUnnamed(work: Work): Promise<string> {
    const requester = await this.#requester("client");
    const stored = await requester.stored(submitSubject("work"), JSON.stringify(work));
    if (stored.kind !== "stored") throw new Error(`not stored: ${stored.kind}`);
    const task = `s${stored.revision}`;
    this.#note({ by: "client", what: "acknowledged", task, duplicate: false });
    this.#submitted.push(task);
    return task;
  }

  /** Submits by plain NATS until the PubAck is there. */
  async submit(task: string, work: Work, more: Record<string, string> = {}): Promise<void> {
    const maxAttempts = Number(more[Header.maxAttempts]) || undefined;
    const asked = maxAttempts === undefined ? {} : { maxAttempts };
    this.#note({ by: "client", what: "submitting", task, ...asked });
    const h = headers();
    for (const [name, value] of Object.entries({ ...more, [Header.msgId]: task }))
      h.set(name, value);
    const requester = await this.#requester("client");
    for (;;) {
      const stored = await requester.stored(submitSubject("work"), JSON.stringify(work), {
        headers: h,
        timeoutMs: 1_000,
      });
      if (stored.kind === "stored") {
        this.#note({ by: "client", what: "acknowledged", task, duplicate: stored.duplicate });
        break;
      }
      await sleep(POLL_MS);
    }
    this.#submitted.push(task);
  }

  /** Starts a client of the SDK in a process of its own. */
  async startSubmitter(): Promise<void> {
    const env = { ...process.env, ...this.#env };
    const child = fork(SUBMITTER, {
      // Not as a test is run: it takes what is built, as every process of the mesh does.
      execArgv: [],
      env: { ...env, NATS_URL: this.mesh.url, NATS_NKEY: this.mesh.key("client") },
    });
    this.#submitter = child;
    await new Promise<void>((resolve, reject) => {
      child.once("message", () => resolve());
      child.once("exit", () => reject(new Error("the submitter ended")));
    });
  }

  /** Has the SDK's client submit it; it says itself when that is acknowledged. */
  submitThere(task: string): void {
    this.#submitted.push(task);
    this.#submitter?.send(task);
  }

  /** Was the client of the SDK told that the task is acknowledged? */
  acknowledgedThere(task: string): boolean {
    return this.#told().some((one) => String(one.what) === "acknowledged" && one.task === task);
  }

  async cancel(task: string): Promise<void> {
    this.#note({ by: "client", what: "cancel-asked", task });
    const reply = await this.#request("client", `mesh.tasks.cancel.${task}`, "");
    const record = reply.kind === "message" ? decode(TaskRecord, reply.message.data) : undefined;
    if (record?.ok !== true) {
      this.missed.push(`${task} is cancelled`);
      return;
    }
    const { status, attempt } = record.value;
    this.#note({ by: "client", what: "result-seen", task, status, attempt });
  }

  /** Lets every handler end that waits for this gate, on whatever node. */
  open(gate: string): void {
    writeFileSync(join(this.#dir, gate), "");
  }

  // ── What strangers do ─────────────────────────────────────────────────────────────────────────

  /** Says in the name of a node that a task ended well, and notes the answer. */
  async claim(node: string, task: string, attempt: number): Promise<void> {
    const body = JSON.stringify({ attempt, epoch: 1, ok: true, result: "forged" });
    const reply = await this.#request(node, outcomeSubject(node, task), body);
    const answer = reply.kind === "message" ? decode(OutcomeAnswer, reply.message.data) : undefined;
    const said = answer?.ok ? answer.value.answer : "refused";
    this.#note({ by: node, what: "answered", task, node, attempt, ok: true, answer: said });
  }

  /** Sends a try to a node as a coordinator would that knows no better. */
  async dispatch(
    node: string,
    sent: { task: string; attempt: number; epoch: number; incarnation: number },
  ): Promise<void> {
    const h = headers();
    h.set(Header.taskId, sent.task);
    h.set(Header.capability, "work");
    h.set(Header.attempt, String(sent.attempt));
    h.set(Header.epoch, String(sent.epoch));
    h.set(Header.incarnation, String(sent.incarnation));
    const requester = await this.#requester("coordinator");
    const body = JSON.stringify({ steps: 1 } satisfies Work);
    await requester.request(nodeSubject(node, "task"), body, { headers: h, timeoutMs: 2_000 });
  }

  /** Asks for a move that was asked for before. */
  async move(task: string, from: string, attempt: number): Promise<void> {
    const body = JSON.stringify({ from, attempt, reason: "node_failed" });
    await this.#request("admin", moveSubject(task), body);
  }

  // ── What is done to the mesh ──────────────────────────────────────────────────────────────────

  /** Kills a process by its name, or freezes it. */
  harm(name: string, fault: "kill" | "freeze", pid = this.mesh.pid(name)): void {
    this.#note({ by: "injector", what: "fault", fault, target: name });
    process.kill(pid, fault === "kill" ? "SIGKILL" : "SIGSTOP");
  }

  thaw(name: string, pid = this.mesh.pid(name)): void {
    process.kill(pid, "SIGCONT");
    this.#note({ by: "injector", what: "healed", fault: "freeze", target: name });
  }

  // ── What can be seen ──────────────────────────────────────────────────────────────────────────

  record(task: string): TaskRecord | undefined {
    return this.#records.get(task);
  }

  /** Every record there is, the newest of each task. */
  get records(): readonly TaskRecord[] {
    return [...this.#records.values()];
  }

  /** Did a handler begin this attempt, or end it? */
  saw(what: Told["what"], task: string, attempt = 1): boolean {
    return this.#told().some(
      (one) => one.what === what && one.task === task && one.attempt === attempt,
    );
  }

  /** What the task last saved on this node. */
  async saved(node: string, task: string): Promise<number> {
    const entry = await (await this.#bucket(CHECKPOINTS_BUCKET)).read(checkpointKey(node, task));
    return entry?.value === undefined ? 0 : Number(new TextDecoder().decode(entry.value));
  }

  /** Who leads the coordinators; waits until there is somebody. */
  async leader(): Promise<{ readonly pid: number; readonly epoch: number }> {
    const bucket = await this.#bucket(LEASES_BUCKET);
    for (;;) {
      const entry = await bucket.read(leaderLeaseKey("coordinator"));
      const lease = entry?.value && decode(LeaderLease, entry.value);
      if (entry !== undefined && lease?.ok) {
        return { pid: lease.value.pid, epoch: lease.value.epoch || entry.revision };
      }
      await sleep(POLL_MS);
    }
  }

  /** Waits until it holds; false, and a note, when it does not within patience. */
  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<boolean> {
    const deadline = performance.now() + this.#patienceMs();
    while (!(await holds())) {
      if (performance.now() > deadline) {
        this.missed.push(what);
        return false;
      }
      await sleep(POLL_MS);
    }
    return true;
  }

  /** Until it holds, or for so long; it need not. */
  async for(ms: number, holds: () => boolean): Promise<void> {
    const deadline = performance.now() + ms;
    while (!holds() && performance.now() < deadline) await sleep(POLL_MS);
  }

  #patienceMs(): number {
    if (this.#patient) return CONTROL_PATIENCE_MS;
    return this.missed.length === 0 ? MUTANT_PATIENCE_MS : SPENT_PATIENCE_MS;
  }

  /** Waits until every submitted task is over, or nothing happens any more. */
  async settle(): Promise<void> {
    const open = () => this.#submitted.filter((task) => !this.#isOver(task));
    const patience = this.#patient ? CONTROL_PATIENCE_MS : MUTANT_SETTLE_MS;
    const deadline = performance.now() + patience;
    let [happened, since] = [this.#happened(), performance.now()];
    while (open().length > 0 && performance.now() < deadline) {
      await sleep(POLL_MS * 4);
      if (this.#happened() !== happened) {
        [happened, since] = [this.#happened(), performance.now()];
      } else if (!this.#patient && performance.now() - since > QUIET_MS) {
        break;
      }
    }
    if (open().length > 0) this.missed.push(`over: ${open().slice(0, 5)}`);
  }

  /** What the checker says of all that happened. */
  async verdict(): Promise<Verdict> {
    await this.#recorder?.finish({ traces: [join(this.#dir, "trace.jsonl")] });
    const checker = new Checker(MARGINS);
    for await (const { number, line } of readHistory(join(this.#dir, "history.jsonl"))) {
      checker.hear(line, number);
    }
    return checker.judge();
  }

  /** Ends everything. A mutant's mesh need not end in order. */
  async stop(): Promise<void> {
    this.#submitter?.kill("SIGKILL");
    const stopped = this.mesh.stop();
    await (this.#patient ? stopped : stopped.catch(() => undefined));
    await rm(this.#dir, { recursive: true, force: true });
  }

  #note(line: Parameters<Recorder["note"]>[0]): void {
    this.#recorder?.note(line);
  }

  #isOver(task: string): boolean {
    const status = this.record(task)?.status;
    return status !== undefined && isFinal(status);
  }

  /** A number that grows whenever a record or a handler says something. */
  #happened(): string {
    const revisions = this.records.map(({ status, attempt }) => `${status}${attempt}`);
    return `${revisions.join()}:${this.#told().length}`;
  }

  #told(): Told[] {
    const file = join(this.#dir, "trace.jsonl");
    if (!existsSync(file)) return [];
    return readFileSync(file, "utf8")
      .split("\n")
      .flatMap((text) => (text === "" ? [] : [JSON.parse(text) as Told]));
  }

  #connection(user: string): Promise<NatsConnection> {
    const known = this.#connections.get(user) ?? this.mesh.connect(user);
    this.#connections.set(user, known);
    return known;
  }

  async #requester(user: string): Promise<Requester> {
    const nc = await this.#connection(user);
    const known = this.#requesters.get(user);
    const requester = known ?? new Requester(nc, { inboxPrefix: `_INBOX_${user}` });
    this.#requesters.set(user, requester);
    return requester;
  }

  async #request(user: string, subject: string, body: string): Promise<Reply> {
    return (await this.#requester(user)).request(subject, body, { timeoutMs: 3_000 });
  }

  async #bucket(spec: ConstructorParameters<typeof Bucket>[0]): Promise<Bucket> {
    const nc = await this.#connection("admin");
    return new Bucket(spec, await openManager(nc), await this.#requester("admin"));
  }
}
