import {
  isFinal,
  LOSSES_MAX,
  type Outcome,
  SUBMIT_OPTIONS_DEFAULT,
  TASK_TRANSITIONS,
  TaskRecord,
  wireError,
} from "@swarm-mesh/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  adopted,
  cancelled,
  decideMessage,
  decideOutcome,
  moved,
  nodesThatRan,
  started,
  triesUsed,
} from "../src/lifecycle.ts";

const NODES = ["n1", "n2", "n3"] as const;

/** What may happen to a task, in any order. `lag`: how many tries behind the current one it is. */
type Step =
  | { readonly kind: "message"; readonly ahead: number | undefined; readonly node: string }
  | { readonly kind: "outcome"; readonly lag: number; readonly node: string; readonly code: string }
  | { readonly kind: "move"; readonly lost: boolean }
  | { readonly kind: "cancel" };

const node = fc.constantFrom(...NODES);
const steps = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant("message"),
        ahead: fc.constantFrom(undefined, -1, 0, 1),
        node,
      }),
    },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant("outcome"),
        lag: fc.constantFrom(0, 0, 0, 1, -1),
        node,
        code: fc.constantFrom("", "handler_failed", "handed_back", "lease_lost", "busy", "timeout"),
      }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("move"), lost: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("cancel") }) },
  ),
  { maxLength: 60 },
) as fc.Arbitrary<Step[]>;

/** A task as its leaders have it: the record, and what each step makes of it. */
class Task {
  record: TaskRecord | undefined;
  #second = 0;
  #epoch = 1;
  readonly #submission;

  constructor(maxAttempts: number) {
    this.#submission = {
      id: "t1",
      capability: "add",
      lane: "normal",
      options: { ...SUBMIT_OPTIONS_DEFAULT, maxAttempts },
      submittedAt: this.#at(),
    } as const;
  }

  take(step: Step): void {
    const where = { epoch: this.#epoch, at: this.#at() };
    const { record } = this;
    switch (step.kind) {
      case "message":
        this.#onMessage(step.node, step.ahead);
        return;
      case "cancel":
        if (record !== undefined && isFinal(record.status)) return;
        this.record = cancelled(this.#submission, record, where);
        return;
      case "move":
        if (record?.status !== "running") return;
        this.record = moved(record, step.lost ? "node_failed" : "node_left", where).record;
        return;
      case "outcome":
        if (record !== undefined) this.#onOutcome(record, step);
    }
  }

  #onMessage(on: string, ahead: number | undefined): void {
    const { record } = this;
    const retryAttempt = ahead === undefined ? undefined : (record?.attempt ?? 0) + ahead;
    const { kind } = decideMessage(record, retryAttempt);
    if (kind === "adopt" && record !== undefined) this.record = adopted(record, ++this.#epoch);
    if (kind !== "place") return;
    const placement = { node: on, incarnation: 1, epoch: this.#epoch, at: this.#at() };
    this.record = started({ ...this.#submission, retryAttempt }, record, placement);
  }

  #onOutcome(record: TaskRecord, { lag, node: from, code }: Step & { kind: "outcome" }): void {
    const said = { attempt: Math.max(1, record.attempt - lag), epoch: this.#epoch };
    const outcome: Outcome =
      code === ""
        ? { ...said, ok: true, result: null }
        : { ...said, ok: false, error: wireError(code as "busy", "no", code !== "timeout") };
    const where = { epoch: this.#epoch, at: this.#at() };
    const decision = decideOutcome(record, { node: from, outcome, ...where, dueAt: where.at });
    const isCurrent =
      record.status === "running" && record.node === from && said.attempt === record.attempt;
    expect(decision.kind === "stale").toBe(!isCurrent);
    if (decision.kind === "move") this.record = moved(record, decision.reason, where).record;
    else if (decision.kind !== "stale") this.record = decision.record;
  }

  #at(): string {
    return new Date(Date.UTC(2026, 0, 1) + 1_000 * this.#second++).toISOString();
  }
}

/** Takes the steps; `look` sees the record before and after each. */
function walk(
  all: readonly Step[],
  maxAttempts: number,
  look: (before: TaskRecord | undefined, after: TaskRecord | undefined) => void,
): void {
  const task = new Task(maxAttempts);
  for (const step of all) {
    const before = task.record;
    task.take(step);
    look(before, task.record);
  }
}

describe("whatever happens to a task", () => {
  const tries = fc.integer({ min: 1, max: 4 });

  test("its record goes along the arrows, and a final one never changes", () => {
    fc.assert(
      fc.property(steps, tries, (all, maxAttempts) => {
        walk(all, maxAttempts, (before, after) => {
          if (before === undefined || after === before) return;
          if (after === undefined) return expect.unreachable();
          expect(TASK_TRANSITIONS[before.status]).toContain(after.status);
        });
      }),
    );
  });

  test("its try and its term never fall, and each placement is a new try", () => {
    fc.assert(
      fc.property(steps, tries, (all, maxAttempts) => {
        walk(all, maxAttempts, (before, after) => {
          if (before === undefined || after === undefined) return;
          expect(after.attempt).toBeGreaterThanOrEqual(before.attempt);
          expect(after.epoch).toBeGreaterThanOrEqual(before.epoch);
          const isPlaced = before.status !== "running" && after.status === "running";
          if (isPlaced) expect(after.attempt).toBeGreaterThan(before.attempt);
        });
      }),
    );
  });

  test("it is tried no more often than it may be, and moved off lost nodes no more than is allowed", () => {
    fc.assert(
      fc.property(steps, tries, (all, maxAttempts) => {
        walk(all, maxAttempts, (_before, after) => {
          if (after === undefined) return;
          expect(after.tries.length).toBeLessThanOrEqual(maxAttempts);
          expect(triesUsed(after)).toBeLessThanOrEqual(maxAttempts);
          const lost = after.migrations.filter((move) => move.reason === "node_failed");
          expect(lost.length).toBeLessThanOrEqual(LOSSES_MAX);
        });
      }),
    );
  });

  test("its record is one that everybody can read, and names the nodes that ran it", () => {
    fc.assert(
      fc.property(steps, tries, (all, maxAttempts) => {
        walk(all, maxAttempts, (_before, after) => {
          if (after === undefined) return;
          expect(TaskRecord.safeParse(after).error).toBeUndefined();
          const ran = nodesThatRan(after);
          expect(new Set(ran).size).toBe(ran.length);
          for (const { from } of after.migrations) expect(ran).toContain(from);
          const isOpen = after.status === "running" || after.status === "retrying";
          expect(after.finishedAt === null).toBe(isOpen);
        });
      }),
    );
  });
});
