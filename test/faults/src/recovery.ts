/**
 * How long after a fault the work that it disturbed flows again.
 *
 * - A node, or its link: each task that it held counts for itself, until it runs as another try, is
 *   final or waits for its next try. A life of the node that kept its tasks through the fault has
 *   recovered them with the first end of a task that it tells of after it was healed.
 * - The coordinator that leads, or its link: until a record of a newer term; when it kept its term,
 *   until its first record after it was healed.
 * - nats-server, or its disk: until both a submit and a record were stored after it was healed.
 * - Anything else, and clocks and latency anywhere: until the next record of any task. It should not
 *   be noticed.
 */
import { isFinal } from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import { SERVER } from "./fault-mesh.ts";
import type { Strike } from "./injector.ts";
import type { OpenTask, StateWatch } from "./state-watch.ts";

/** What was measured of one fault. */
export interface Recovery {
  readonly strike: Strike;
  /** From the strike to its healing; `undefined` when that never came. */
  readonly lengthMs: number | undefined;
  /** From the strike: one figure, or one for each task that was held. */
  readonly figures: readonly number[];
  /** Work that had not recovered when the run was over. */
  readonly open: number;
}

interface Waiting {
  readonly strike: Strike;
  readonly kind: "tasks" | "term" | "server" | "flow";
  /** `tasks`: what the node held, as it was at the strike. */
  readonly held: Map<string, OpenTask>;
  /** `term`: the newest at the strike. */
  readonly epoch: number;
  readonly figures: number[];
  healedMs: number | undefined;
  submitted: boolean;
  recorded: boolean;
  done: boolean;
}

export class RecoveryWatch {
  readonly #watch: StateWatch;
  readonly #all: Waiting[] = [];
  #waiting: Waiting[] = [];
  #epoch = 0;

  constructor(watch: StateWatch) {
    this.#watch = watch;
    watch.on((task) => this.#hear(task));
  }

  /** To be called right before a fault strikes. */
  struck(strike: Strike): void {
    const kind = kindOf(strike);
    const held = kind === "tasks" ? this.#heldBy(strike.target) : [];
    const waiting: Waiting = {
      strike,
      kind,
      held: new Map(held.map((task) => [task.id, task])),
      epoch: this.#epoch,
      figures: [],
      healedMs: undefined,
      submitted: false,
      recorded: false,
      done: kind === "tasks" && held.length === 0,
    };
    this.#all.push(waiting);
    if (!waiting.done) this.#waiting.push(waiting);
  }

  /** To be called when a fault is healed. */
  healed(strike: Strike): void {
    const waiting = this.#all.find((each) => each.strike === strike);
    if (waiting !== undefined) waiting.healedMs = systemClock.elapsed();
  }

  /** To be called at each PubAck. */
  acknowledged(): void {
    for (const each of this.#waiting) {
      if (each.kind !== "server" || each.healedMs === undefined) continue;
      each.submitted = true;
      if (each.recorded) this.#finish(each);
    }
    this.#sweep();
  }

  /** What was measured so far, in the order of the strikes. */
  results(): readonly Recovery[] {
    return this.#all.map(({ strike, figures, held, done, kind, healedMs }) => ({
      strike,
      lengthMs: healedMs === undefined ? undefined : healedMs - strike.atMs,
      figures,
      open: done ? 0 : kind === "tasks" ? held.size : 1,
    }));
  }

  #heldBy(node: string): readonly OpenTask[] {
    return [...this.#watch.open.values()].filter(
      (task) => task.node === node && task.status === "running",
    );
  }

  #hear(task: OpenTask): void {
    for (const each of this.#waiting) this.#tell(each, task);
    this.#epoch = Math.max(this.#epoch, task.epoch);
    this.#sweep();
  }

  #tell(each: Waiting, task: OpenTask): void {
    switch (each.kind) {
      case "tasks":
        this.#tellOfTask(each, task);
        return;
      case "term":
        if (task.epoch > each.epoch || each.healedMs !== undefined) this.#finish(each);
        return;
      case "server":
        if (each.healedMs === undefined) return;
        each.recorded = true;
        if (each.submitted) this.#finish(each);
        return;
      case "flow":
        this.#finish(each);
        return;
    }
  }

  #tellOfTask(each: Waiting, task: OpenTask): void {
    const before = each.held.get(task.id);
    if (before !== undefined && (task.attempt > before.attempt || task.status !== "running")) {
      each.held.delete(task.id);
      each.figures.push(systemClock.elapsed() - each.strike.atMs);
    }
    // A cancelled task ends without its node's word.
    const ended = isFinal(task.status) && task.status !== "cancelled";
    const told = task.node === each.strike.target && (ended || task.status === "retrying");
    if (told && each.healedMs !== undefined) {
      for (const held of each.held.values()) {
        // What another life of the node says proves nothing of what this one had.
        if (held.incarnation !== task.incarnation) continue;
        each.held.delete(held.id);
        each.figures.push(systemClock.elapsed() - each.strike.atMs);
      }
    }
    if (each.held.size === 0) each.done = true;
  }

  #finish(each: Waiting): void {
    each.figures.push(systemClock.elapsed() - each.strike.atMs);
    each.done = true;
  }

  #sweep(): void {
    if (this.#waiting.some(({ done }) => done)) {
      this.#waiting = this.#waiting.filter(({ done }) => !done);
    }
  }
}

function kindOf({ fault, target, led }: Strike): Waiting["kind"] {
  if (fault === "clock" || fault === "latency") return "flow";
  if (target === SERVER) return "server";
  if (led) return "term";
  return isNode(target) ? "tasks" : "flow";
}

/** Is this the name of a node, and of no service or server? */
export function isNode(name: string): boolean {
  return /^n\d+$/.test(name);
}
