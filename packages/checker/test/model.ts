/**
 * A tiny model of the protocol, moved by chance: what it writes down is by construction what may
 * happen. It knows nothing of the product's code, and shares nothing with the rules.
 */
import type { TaskRecord } from "@swarm-mesh/protocol";
import type { HistoryLine } from "../src/mod.ts";
import { iso, line, T0, taskRecord } from "./lines.ts";

/** Draws numbers below `bound`, from what fast-check made. When that is used up: 0. */
class Chance {
  readonly #draws: readonly number[];
  #next = 0;

  constructor(draws: readonly number[]) {
    this.#draws = draws;
  }

  get left(): boolean {
    return this.#next < this.#draws.length;
  }

  below(bound: number): number {
    return (this.#draws[this.#next++] ?? 0) % bound;
  }

  /** One of them. */
  of<T>(values: readonly T[]): T | undefined {
    return values.length === 0 ? undefined : values[this.below(values.length)];
  }
}

interface Node {
  readonly id: string;
  incarnation: number;
  alive: boolean;
}

interface Task {
  readonly id: string;
  readonly maxAttempts: number;
  record: TaskRecord | undefined;
  revision: number;
  /** Is a message of it in a stream? */
  message: boolean;
  /** How far each attempt saved, and on which node. */
  saved: number;
  /** The attempt that runs now, as its handler sees it. */
  running: boolean;
}

const CHECKPOINTS_A_TRY = 3;

/** Runs the model until its chance is used up, then to rest. Returns what was written down. */
export function randomHistory(draws: readonly number[]): HistoryLine[] {
  const world = new World(new Chance(draws));
  while (world.chance.left) world.move();
  return world.rest();
}

class World {
  readonly chance: Chance;
  readonly #lines: HistoryLine[] = [];
  readonly #tasks: Task[] = [];
  readonly #nodes: Node[] = ["n1", "n2", "n3"].map((id) => ({ id, incarnation: 0, alive: false }));
  #ms = 0;
  #epoch = 0;
  #revision = 0;

  constructor(chance: Chance) {
    this.chance = chance;
    this.#tell("watching", {
      kinds: ["records", "dead-letters", "runs", "checkpoints", "nodes", "leases"],
    });
    this.#lead();
    for (const node of this.#nodes) this.#join(node);
  }

  /** One thing happens. */
  move(): void {
    this.#ms += 1 + this.chance.below(300);
    const moves = [
      () => this.#submit(),
      () => this.#submit(),
      () => this.#place(),
      () => this.#place(),
      () => this.#place(),
      () => this.#work(),
      () => this.#work(),
      () => this.#work(),
      () => this.#endTry(),
      () => this.#endTry(),
      () => this.#endTry(),
      () => this.#cancel(),
      () => this.#note(),
      () => this.#lead(),
      () => this.#loseNode(),
      () => this.#rejoin(),
      () => this.#rejoin(),
      () => this.#lateWord(),
    ];
    this.chance.of(moves)?.();
  }

  /** Ends what is under way, or leaves it waiting, and looks once more. */
  rest(): HistoryLine[] {
    for (const task of this.#tasks) {
      while (task.message && task.record?.status === "running") this.#finish(task, "ok");
    }
    this.#ms += 20_000;
    for (const task of this.#tasks) {
      const { id, record, revision } = task;
      this.#tell("record-final-look", { task: id, revision, record: record ?? null });
    }
    const waiting = this.#tasks.filter((task) => task.message).map(({ id }) => id);
    this.#tell("waiting-at-end", { tasks: waiting });
    this.#tell("end");
    return this.#lines;
  }

  #tell(what: HistoryLine["what"], fields: Record<string, unknown> = {}): void {
    this.#lines.push(line(this.#ms, what, fields));
  }

  #write(task: Task, record: TaskRecord): void {
    const previous = task.revision;
    task.revision = ++this.#revision;
    task.record = record;
    // Some observers know what a write was made on, and some are told twice.
    const fields = { task: task.id, revision: task.revision, record, storedAt: T0 + this.#ms };
    this.#tell("record", this.chance.below(2) === 0 ? { ...fields, previous } : fields);
    if (this.chance.below(8) === 0) this.#tell("record", fields);
  }

  #submit(): void {
    const again = this.chance.below(4) === 0 ? this.chance.of(this.#tasks) : undefined;
    if (again !== undefined) {
      this.#tell("submitting", { task: again.id, maxAttempts: again.maxAttempts });
      this.#tell("acknowledged", { task: again.id, duplicate: true });
      return;
    }
    const id = `t${this.#tasks.length}`;
    const maxAttempts = 1 + this.chance.below(3);
    const task: Task = {
      ...{ id, maxAttempts, record: undefined, revision: 0 },
      ...{ message: true, saved: 0, running: false },
    };
    this.#tasks.push(task);
    this.#tell("submitting", { task: id, maxAttempts });
    this.#tell("acknowledged", { task: id });
    if (this.chance.below(10) === 0) this.#reject(task);
  }

  #reject(task: Task): void {
    const error = { code: "bad_header", message: "no", retryable: false };
    this.#write(task, this.#record(task, { status: "rejected", attempt: 0, error }));
    this.#tell("dead-letter", { task: task.id, status: "rejected" });
    task.message = false;
  }

  #record(task: Task, fields: Partial<TaskRecord>): TaskRecord {
    const before = task.record ?? taskRecord(task.id, { status: "running", attempt: 0 });
    const status = fields.status ?? before.status;
    const final = status !== "running" && status !== "retrying";
    return {
      ...before,
      maxAttempts: task.maxAttempts,
      epoch: this.#epoch,
      finishedAt: final ? iso(this.#ms) : null,
      dueAt: status === "retrying" ? iso(this.#ms) : null,
      ...fields,
    };
  }

  #place(): void {
    const free = this.#tasks.filter(
      ({ message, record }) => message && (record === undefined || record.status === "retrying"),
    );
    const task = this.chance.of(free);
    const node = this.chance.of(this.#nodes.filter(({ alive }) => alive));
    if (task !== undefined && node !== undefined) this.#give(task, node, task.record);
  }

  /** Writes the next attempt's record and starts it; `before`: what it is written on. */
  #give(task: Task, node: Node, before: TaskRecord | undefined): void {
    const attempt = (before?.attempt ?? 0) + 1;
    const migrations = (before?.migrations ?? []).map((move) => ({
      ...move,
      to: move.to ?? node.id,
    }));
    const { id, incarnation } = node;
    const startedAt = iso(this.#ms);
    const where = { node: id, incarnation, startedAt, migrations, attempt };
    const tries = before?.tries ?? [];
    this.#write(task, this.#record(task, { status: "running", tries, ...where }));
    task.running = this.chance.below(10) !== 0;
    if (task.running) this.#start(task);
  }

  #start(task: Task): void {
    const { record } = task;
    this.#ms += this.chance.below(20);
    const { attempt, node, incarnation } = record ?? {};
    const fields = { task: task.id, attempt, pid: 100 + (incarnation ?? 0), from: task.saved };
    // Some handlers know where they are.
    this.#tell("started", this.chance.below(2) === 0 ? fields : { ...fields, node, incarnation });
  }

  #running(): Task | undefined {
    return this.chance.of(
      this.#tasks.filter(({ record, running }) => running && record?.status === "running"),
    );
  }

  #work(): void {
    const task = this.#running();
    if (task?.record == null) return;
    for (let count = this.chance.below(CHECKPOINTS_A_TRY); count > 0; count--) {
      task.saved++;
      const { attempt, node } = task.record;
      const revision = ++this.#revision;
      this.#tell("checkpoint", { task: task.id, node, revision, value: task.saved, attempt });
    }
    this.#ms += 20;
  }

  #endTry(): void {
    const task = this.#running();
    const how = this.chance.of(["ok", "failed", "failed-for-good"] as const);
    if (task !== undefined && how !== undefined) this.#finish(task, how);
  }

  #finish(task: Task, how: "ok" | "failed" | "failed-for-good"): void {
    const before = task.record;
    if (before === undefined) return;
    if (!task.running) this.#start(task);
    const { attempt, node } = before;
    const pid = 100 + (before.incarnation ?? 0);
    this.#tell("ended", { task: task.id, attempt, pid, how: how === "ok" ? "ok" : "failed" });
    task.running = false;
    if (how === "ok") {
      this.#write(task, this.#record(task, { status: "succeeded", result: { attempt } }));
    } else {
      this.#fail(task, before, how === "failed");
    }
    this.#tell("answered", { task: task.id, node, attempt, ok: how === "ok", answer: "recorded" });
    if (task.record?.status !== "retrying") this.#over(task);
  }

  #fail(task: Task, before: TaskRecord, retryable: boolean): void {
    const { attempt, node } = before;
    const error = { code: "handler_failed", message: "no luck", retryable };
    const tries = [...before.tries, { attempt, node, at: iso(this.#ms), error }];
    const left = retryable && attempt - before.migrations.length < before.maxAttempts;
    const status = left ? "retrying" : "failed";
    this.#write(task, this.#record(task, { status, error, tries }));
    if (!left) this.#tell("dead-letter", { task: task.id, status: "failed" });
  }

  /** The record is final: its message goes, and perhaps a client is told. */
  #over(task: Task): void {
    task.message = false;
    task.running = false;
    const { status, attempt } = task.record ?? {};
    if (this.chance.below(2) === 0) this.#tell("result-seen", { task: task.id, status, attempt });
  }

  #cancel(): void {
    const task = this.chance.of(this.#tasks);
    if (task === undefined) return;
    this.#tell("cancel-asked", { task: task.id });
    if (!task.message) return;
    const attempt = task.record?.attempt ?? 0;
    const error = { code: "cancelled", message: "cancelled on request", retryable: false };
    const ran = task.running;
    this.#write(task, this.#record(task, { status: "cancelled", attempt, error }));
    this.#over(task);
    if (!ran) return;
    this.#ms += this.chance.below(500);
    const pid = 100 + (task.record?.incarnation ?? 0);
    this.#tell("ended", { task: task.id, attempt, pid, how: "aborted" });
  }

  /** Progress is noted: the same try, another revision. */
  #note(): void {
    const task = this.#running();
    if (task?.record == null) return;
    this.#write(task, this.#record(task, { progress: { step: this.#ms } }));
  }

  /** Another leader: the lease first, then its number in every record that is under way. */
  #lead(): void {
    this.#epoch = ++this.#revision;
    const holder = { instance: `coordinator-${1 + this.chance.below(2)}`, epoch: this.#epoch };
    const fields = { service: "coordinator", revision: this.#epoch, storedAt: T0 + this.#ms };
    this.#tell("leader-lease", { ...fields, holder });
    for (const task of this.#tasks) {
      if (task.record?.status === "running") this.#write(task, this.#record(task, {}));
    }
  }

  #join(node: Node): void {
    const before = node.incarnation;
    const shared = { node: node.id };
    node.incarnation = ++this.#revision;
    this.#tell("node", {
      ...{ ...shared, revision: node.incarnation, incarnation: before, state: "JOINING" },
    });
    const { incarnation } = node;
    this.#tell("node-lease", { ...shared, revision: ++this.#revision, incarnation });
    this.#tell("node", { ...shared, revision: ++this.#revision, incarnation, state: "ACTIVE" });
    node.alive = true;
  }

  #rejoin(): void {
    const node = this.chance.of(this.#nodes.filter(({ alive }) => !alive));
    if (node !== undefined) this.#join(node);
  }

  /** A node dies; each of its tasks goes to another, or waits for one. */
  #loseNode(): void {
    const node = this.chance.of(this.#nodes.filter(({ alive }) => alive));
    if (node === undefined) return;
    node.alive = false;
    this.#tell("fault", { fault: "kill", target: node.id });
    this.#ms += 250;
    const { id, incarnation } = node;
    const revision = ++this.#revision;
    this.#tell("node", { node: id, revision, incarnation, state: "FAILED" });
    for (const task of this.#tasks) {
      if (task.record?.status === "running" && task.record.node === id) this.#move(task);
    }
  }

  #move(task: Task): void {
    const { record } = task;
    if (record?.node == null) return;
    task.running = false;
    const migration = { from: record.node, to: null, at: iso(this.#ms), reason: "node_failed" };
    const left = this.#record(task, {
      status: "retrying",
      migrations: [...record.migrations, migration as TaskRecord["migrations"][number]],
    });
    const next = this.chance.of(this.#nodes.filter(({ alive }) => alive));
    if (next === undefined) this.#write(task, left);
    else this.#give(task, next, left);
  }

  /** A node that lost its task says how it ended all the same. */
  #lateWord(): void {
    const task = this.chance.of(this.#tasks.filter(({ record }) => (record?.attempt ?? 0) > 1));
    if (task?.record == null) return;
    const { attempt, migrations } = task.record;
    const from = migrations.at(-1)?.from;
    if (from === undefined) return;
    const late = { task: task.id, node: from, attempt: attempt - 1, ok: true, answer: "stale" };
    this.#tell("answered", late);
  }
}
