/**
 * The judge of a run. It writes down what happens as the checker's history, which is judged by the
 * same rules as runs of a real mesh; and it checks, as it happens, what only someone who sees
 * everything can: who believes to lead at one moment, whether a message is let go too soon, whether a
 * node that is failed is really gone.
 */
import { Checker, type HistoryLine, type LineOf, type Watched } from "@swarm-mesh/checker";
import {
  isFinal,
  type LeaderLease,
  NODE_TRANSITIONS,
  type NodeLease,
  type NodeRecord,
  type Outcome,
  TASK_TRANSITIONS,
  TaskRecord,
  type TaskStatus,
} from "@swarm-mesh/protocol";
import type { Entry } from "./buckets.ts";
import type { Work } from "./handler.ts";
import type { Fault, Plan } from "./plan.ts";
import { EPOCH_MS } from "./process.ts";
import type { Scheduler } from "./scheduler.ts";
import type { StreamMessage } from "./streams.ts";

/** What must never happen, and did. */
export interface Violation {
  readonly rule: string;
  readonly text: string;
  /** The task or node it is about, if it is about one. */
  readonly about: string | undefined;
}

/** What the judge is told of the world, to look at it as it really is. */
export interface Truth {
  /** The coordinators that believe now that they lead. */
  readonly leaders: () => readonly string[];
  /** Is this life of the node up, connected, trusted, and undisturbed for so long? */
  readonly isSound: (node: string, incarnation: number) => boolean;
  /** How many nodes there are whose life has not ended, as the records say. */
  readonly livingCount: () => number;
}

interface Note {
  readonly at: number;
  readonly by: string;
  readonly what: string;
  readonly detail: unknown;
}

const WATCHED: Watched[] = ["records", "dead-letters", "runs", "checkpoints", "nodes", "leases"];
/** Reason of a record that the health-monitor failed without waiting for the lease. */
const FAST = "connection closed and nobody answers";
/** The brake's settings, as the health-monitor has them by default. */
const BRAKE = { windowMs: 5_000, least: 3, share: 0.5 };
const TAIL_MAX = 40;

export class Judge {
  readonly lines: HistoryLine[] = [];
  violation: Violation | undefined;
  /** PubAcks seen, by task. */
  readonly acknowledgedTasks = new Set<string>();
  readonly #plan: Plan;
  readonly #scheduler: Scheduler;
  readonly #notes: Note[] = [];
  readonly #records = new Map<string, TaskRecord>();
  /** Messages that stand for a task, in any task stream. */
  readonly #carriers = new Map<string, number>();
  /** When nodes were failed on the fast path and have not come back. */
  readonly #failedFast = new Map<string, number>();
  #truth: Truth | undefined;

  constructor(plan: Plan, scheduler: Scheduler) {
    this.#plan = plan;
    this.#scheduler = scheduler;
    this.#write("watching", { kinds: WATCHED });
  }

  /** Gives the judge eyes, once everything stands. */
  see(truth: Truth): void {
    this.#truth = truth;
  }

  /** `text` begins with the name of the task or node that it is about, or `about` has it. */
  fail(rule: string, text: string, about = /^[nt]\d+\b/.exec(text)?.[0]): void {
    if (this.violation === undefined) this.note("judge", `VIOLATION of "${rule}"`, text);
    this.violation ??= { rule, text, about };
  }

  note(by: string, what: string, detail?: unknown): void {
    this.#notes.push({ at: this.#scheduler.now, by, what, detail });
  }

  /** The last notes, of those that name `about` when given, as lines. */
  tail(about?: string): string[] {
    const isWanted = new RegExp(about === undefined ? "" : `\\b${about}\\b|FAULT|leads|VIOLATION`);
    return this.#notes
      .map(({ at, by, what, detail }) => {
        const more = typeof detail === "string" ? detail : JSON.stringify(detail);
        return `${at.toFixed(1).padStart(10)} ${by.padEnd(16)} ${what} ${more ?? ""}`;
      })
      .filter((line) => isWanted.test(line))
      .slice(-TAIL_MAX);
  }

  record(task: string): TaskRecord | undefined {
    return this.#records.get(task);
  }

  // ── What clients see ──────────────────────────────────────────────────────────────────────────

  acknowledged(task: string, duplicate: boolean): void {
    this.acknowledgedTasks.add(task);
    this.note("client", "acknowledged", task);
    this.#write("acknowledged", { task, duplicate });
  }

  told(task: string, status: TaskStatus, attempt: number): void {
    this.note("client", "told", `${task} ${status}`);
    this.#write("result-seen", { task, status, attempt });
  }

  // ── What nodes do ─────────────────────────────────────────────────────────────────────────────

  started(start: {
    task: string;
    attempt: number;
    node: string;
    incarnation: number;
    pid: number;
    from: number;
  }): void {
    this.note(start.node, "starts", `${start.task}.${start.attempt} from ${start.from}`);
    this.#write("started", start);
  }

  ended(end: {
    task: string;
    attempt: number;
    pid: number;
    how: "ok" | "failed" | "aborted";
  }): void {
    this.#write("ended", end);
  }

  answered(
    task: string,
    node: string,
    { attempt, ok }: Outcome,
    answer: "recorded" | "stale",
  ): void {
    this.note("leader", "answers", `${task}.${attempt} of ${node}: ${answer}`);
    this.#write("answered", { task, node, attempt, ok, answer });
  }

  // ── What the store takes ──────────────────────────────────────────────────────────────────────

  accepted(bucket: string, entry: Entry, before: Entry | undefined): void {
    const storedAt = EPOCH_MS + this.#scheduler.now;
    const { key, revision, value } = entry;
    switch (bucket) {
      case "tasks":
        this.#onTask(entry, before);
        return;
      case "nodes":
        this.#onNode(value as NodeRecord, entry, before);
        return;
      case "checkpoints": {
        const [node = "", task = ""] = key.split(".");
        const { step, attempt } = JSON.parse(Buffer.from(value as Uint8Array).toString()) as Work;
        this.#write("checkpoint", { task, node, revision, storedAt, value: step, attempt });
        return;
      }
      default:
        this.#onLease(entry, storedAt);
    }
  }

  deadLetter(task: string, status: "failed" | "rejected"): void {
    this.#write("dead-letter", { task, status });
  }

  /** A task stream took a message. */
  carries(message: StreamMessage): void {
    const { task } = message;
    this.#carriers.set(task, (this.#carriers.get(task) ?? 0) + 1);
  }

  /** A task stream let a message go. */
  letGo(message: StreamMessage): void {
    const { task } = message;
    const left = (this.#carriers.get(task) ?? 0) - 1;
    this.#carriers.set(task, left);
    this.note("server", "lets go", `${message.stream} ${task}`);
    const status = this.#records.get(task)?.status;
    if (left > 0 || (status !== undefined && isFinal(status))) return;
    this.fail(
      "nothing acknowledged is let go of",
      `${task} is ${status ?? "not recorded"}, and its last message is gone`,
      task,
    );
  }

  #onTask({ key: task, revision, value }: Entry, before: Entry | undefined): void {
    const record = value as TaskRecord;
    const last = this.#records.get(task);
    this.#records.set(task, record);
    const { status, attempt, node, epoch } = record;
    this.note("store", "record", `${task} ${status} attempt ${attempt} on ${node} epoch ${epoch}`);
    const checked = TaskRecord.safeParse(record);
    if (!checked.success)
      this.fail("records can be read", `${task}: ${checked.error.message}`, task);
    if (last !== undefined && !TASK_TRANSITIONS[last.status].includes(status)) {
      this.fail(
        "records go along the arrows",
        `${task} went from ${last.status} to ${status}`,
        task,
      );
    }
    const storedAt = EPOCH_MS + this.#scheduler.now;
    this.#write("record", { task, revision, previous: before?.revision ?? 0, storedAt, record });
  }

  #onNode(
    record: NodeRecord | undefined,
    { key: node, revision }: Entry,
    before: Entry | undefined,
  ): void {
    if (record === undefined) return;
    const { state, incarnation, reason } = record;
    this.note("store", "node", `${node} ${state} life ${incarnation}: ${reason}`);
    this.#write("node", { node, revision, incarnation, state });
    const from = (before?.value as NodeRecord | undefined)?.state;
    if (from !== undefined && from !== state && !NODE_TRANSITIONS[from].includes(state)) {
      this.fail("nodes go along the arrows", `${node} went from ${from} to ${state}`);
    }
    if (state === "FAILED") this.#onFailed(record);
    else this.#failedFast.delete(node);
  }

  #onFailed({ id, incarnation, reason }: NodeRecord): void {
    if (this.#truth?.isSound(id, incarnation) === true) {
      this.fail(
        "no sound node is failed",
        `${id}, life ${incarnation}, lives and is reachable: "${reason}"`,
      );
    }
    if (reason !== FAST) return;
    const now = this.#scheduler.now;
    this.#failedFast.set(id, now);
    const recent = [...this.#failedFast.values()].filter((at) => now - at < BRAKE.windowMs).length;
    const all = recent + (this.#truth?.livingCount() ?? 0);
    // The last one each monitor judged may have been judged before the others were known.
    const most =
      Math.max(BRAKE.least - 1, Math.floor(BRAKE.share * all)) + this.#plan.monitors.length - 1;
    if (recent > most) {
      this.fail(
        "the brake holds",
        `${recent} of ${all} nodes were failed at once, without waiting for their leases`,
      );
    }
  }

  #onLease({ key, revision, value }: Entry, storedAt: number): void {
    const [kind, name = ""] = key.split(".");
    if (kind === "node") {
      const incarnation = (value as NodeLease | undefined)?.incarnation ?? null;
      if (incarnation === null) this.note("store", "lease gone", name);
      this.#write("node-lease", { node: name, revision, storedAt, incarnation });
      return;
    }
    const lease = value as LeaderLease | undefined;
    const holder =
      lease === undefined ? null : { instance: lease.instance, epoch: lease.epoch || revision };
    if (lease === undefined || lease.epoch === 0)
      this.note("store", "leader lease", holder?.instance ?? "gone");
    this.#write("leader-lease", { service: name, revision, storedAt, holder });
  }

  // ── What services believe and do ──────────────────────────────────────────────────────────────

  /** A coordinator is about to act in its term's name. */
  acts(by: string): void {
    const leaders = this.#truth?.leaders() ?? [];
    if (leaders.length > 1)
      this.fail(
        "one leader at a time",
        `${by} acts while ${leaders.join(" and ")} believe that they lead`,
      );
  }

  fault({ kind, target, forMs }: Fault): void {
    this.note("injector", "FAULT", `${kind} ${target} for ${forMs} ms`);
    this.#write("fault", { fault: kind, target });
  }

  healed({ kind, target }: Fault): void {
    this.note("injector", "healed", `${kind} ${target}`);
    this.#write("healed", { fault: kind, target });
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────

  /** Judges the whole history. `waiting`: tasks whose messages are in a stream. */
  conclude(tasks: Iterable<Entry>, waiting: string[]): void {
    for (const { key: task, revision, value } of tasks) {
      this.#write("record-final-look", { task, revision, record: value as TaskRecord });
    }
    this.#write("waiting-at-end", { tasks: waiting });
    this.#write("end", {});
    if (this.violation !== undefined) return;
    const { conditions, faults } = this.#plan;
    const clocksOffMs = faults.reduce(
      (sum, { kind, forMs }) => sum + (kind === "wall" ? 2 * forMs : 0),
      0,
    );
    // A write whose answer is lost is sent again after five seconds.
    const againMs = conditions.dropRate > 0 ? 6_000 : 0;
    const observersMs = 500 + 2 * conditions.slowMs + againMs + clocksOffMs;
    const checker = new Checker({ observersMs });
    for (const [index, line] of this.lines.entries()) checker.hear(line, index + 1);
    const [first] = checker.judge().violations.filter(({ rule }) => !this.#isExcused(rule));
    if (first === undefined) return;
    this.fail(first.rule, `${first.task ?? "the run"} ${first.problem}`, first.task ?? undefined);
  }

  /**
   * Rules that this run may break. A write may be on its way for longer than a leader stops before
   * its lease runs out: no clock fences it then but its revision, so it changes nothing that the
   * next leader has touched. A leader whose watch is silent learns late who is gone, and a write
   * that is lost twice says ten seconds later what was decided before.
   */
  #isExcused(rule: string): boolean {
    const { conditions, leaderLeaseTtlMs, faults } = this.#plan;
    const isHit = (fault: string): boolean =>
      faults.some(({ kind, target }) => kind === fault && target.startsWith("coordinator"));
    if (rule === "one-leader-acts") {
      return isHit("cut") || conditions.slowMs > leaderLeaseTtlMs / 10;
    }
    return rule === "placed-on-the-living" && (isHit("silence") || conditions.dropRate > 0);
  }

  #write<K extends HistoryLine["what"]>(
    what: K,
    fields: Omit<LineOf<K>, "what" | "at" | "by">,
  ): void {
    const at = EPOCH_MS + this.#scheduler.now;
    this.lines.push({ at, by: "simulation", what, ...fields } as HistoryLine);
  }
}
