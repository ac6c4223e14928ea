import {
  isFinal,
  type Outcome,
  SUBMIT_OPTIONS_DEFAULT,
  TASK_TRANSITIONS,
  TaskRecord,
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
  rejected,
  type Submission,
  started,
  triesUsed,
} from "../src/lifecycle.ts";

const submission: Submission = {
  id: "t1",
  capability: "echo",
  lane: "normal",
  options: SUBMIT_OPTIONS_DEFAULT,
  submittedAt: "2026-01-01T00:00:00.000Z",
};
const at = "2026-01-01T00:00:01.000Z";
const dueAt = "2026-01-01T00:00:02.000Z";
const on = (node: string, epoch = 1) => ({ node, incarnation: 7, epoch, at });
const first = started(submission, undefined, on("n1"));
const retryable = { code: "handler_failed", message: "", retryable: true };
const failure = (attempt: number, error = retryable): Outcome => ({
  attempt,
  epoch: 1,
  ok: false,
  error,
});

describe("decideOutcome", () => {
  test.each([
    { name: "another node", node: "n2", attempt: 1, kind: "stale" },
    { name: "an older try", node: "n1", attempt: 0, kind: "stale" },
    { name: "a later try", node: "n1", attempt: 2, kind: "stale" },
    { name: "the current try", node: "n1", attempt: 1, kind: "final" },
  ])("an outcome of $name is $kind", ({ node, attempt, kind }) => {
    const outcome: Outcome = { attempt, epoch: 1, ok: true, result: 1 };
    expect(decideOutcome(first, { node, outcome, epoch: 1, at, dueAt }).kind).toBe(kind);
  });

  test.each([
    { code: "handed_back", reason: "handed_back" },
    { code: "lease_lost", reason: "node_failed" },
  ])("$code moves the task and uses no try up", ({ code, reason }) => {
    const outcome = failure(1, { code, message: "", retryable: true });
    const decision = decideOutcome(first, { node: "n1", outcome, epoch: 1, at, dueAt });
    expect(decision).toEqual({ kind: "move", reason });
  });

  test("a retryable failure is tried again until the tries are used up", () => {
    let record = first;
    for (let attempt = 1; attempt < 3; attempt++) {
      const outcome = failure(attempt);
      const decision = decideOutcome(record, { node: "n1", outcome, epoch: 1, at, dueAt });
      expect(decision).toMatchObject({ kind: "retry", record: { status: "retrying", dueAt } });
      record = started(submission, "record" in decision ? decision.record : undefined, on("n1"));
    }
    const last = decideOutcome(record, { node: "n1", outcome: failure(3), epoch: 1, at, dueAt });
    expect(last).toMatchObject({ kind: "final", record: { status: "failed", attempt: 3 } });
  });
});

describe("decideMessage", () => {
  const retrying: TaskRecord = { ...first, status: "retrying" };
  test.each([
    { name: "no record, a submit", record: undefined, retry: undefined, kind: "place" },
    { name: "no record, put back", record: undefined, retry: 1, kind: "place" },
    { name: "running, the submit again", record: first, retry: undefined, kind: "adopt" },
    { name: "running, the retry it came from", record: first, retry: 1, kind: "adopt" },
    { name: "running, an older retry", record: { ...first, attempt: 3 }, retry: 2, kind: "adopt" },
    { name: "retrying, the submit again", record: retrying, retry: undefined, kind: "schedule" },
    { name: "retrying, its retry", record: retrying, retry: 2, kind: "place" },
    // The leader died before it could store the next one: this message is all that is left.
    {
      name: "retrying, the retry of the try that ended",
      record: retrying,
      retry: 1,
      kind: "schedule",
    },
    {
      name: "final",
      record: { ...first, status: "failed" as const },
      retry: undefined,
      kind: "drop",
    },
  ])("$name: $kind", ({ record, retry, kind }) => {
    expect(decideMessage(record, retry).kind).toBe(kind);
  });
});

describe("moved", () => {
  test("the next try names the new node in the move", () => {
    const left = moved(first, "node_failed", { epoch: 2, at });
    const next = started(submission, left.record, on("n2", 2));
    expect(next).toMatchObject({ attempt: 2, node: "n2" });
    expect(next.migrations).toEqual([{ from: "n1", to: "n2", at, reason: "node_failed" }]);
    expect(triesUsed(next)).toBe(1);
  });

  test("ten lost nodes are enough", () => {
    let record = first;
    for (let loss = 0; loss < 10; loss++) {
      const left = moved(record, "node_failed", { epoch: 1, at });
      expect(left.kind).toBe("again");
      record = started(submission, left.record, on(`n${loss + 2}`));
    }
    expect(moved(record, "handed_back", { epoch: 1, at }).kind).toBe("again");
    expect(moved(record, "node_failed", { epoch: 1, at })).toMatchObject({
      kind: "final",
      record: { status: "failed", error: { code: "too_many_losses" } },
    });
  });
});

test("a hundred long errors leave room for a result", () => {
  let record = started(
    { ...submission, options: { ...submission.options, maxAttempts: 100 } },
    undefined,
    on("n1"),
  );
  const message = "\u0000".repeat(4_096);
  for (let attempt = 1; attempt < 100; attempt++) {
    const outcome = failure(attempt, { code: "handler_failed", message, retryable: true });
    const decision = decideOutcome(record, { node: "n1", outcome, epoch: 1, at, dueAt });
    record = started(submission, "record" in decision ? decision.record : undefined, on("n1"));
  }
  expect(record.tries).toHaveLength(99);
  expect(JSON.stringify(record).length).toBeLessThan(192 * 1024);
});

test("looks for checkpoints where the task ran last, whatever the leaders' clocks said", () => {
  const record: TaskRecord = {
    ...first,
    attempt: 4,
    node: "n4",
    migrations: [
      { from: "n1", to: "n2", at: "2026-01-01T00:00:03.000Z", reason: "node_left" },
      { from: "n3", to: "n4", at: "2026-01-01T00:00:01.000Z", reason: "node_failed" },
    ],
    tries: [{ attempt: 2, node: "n2", at: "2026-01-01T00:00:02.000Z", error: retryable }],
  };
  expect(nodesThatRan(record)).toEqual(["n3", "n2", "n1"]);
});

test.each([
  { name: "by hand", attempt: 2 ** 50, status: "running" as const },
  { name: "waiting for its next try", attempt: 3, status: "retrying" as const },
])("a task $name is told by where it was, not by counting up", ({ attempt, status }) => {
  const record: TaskRecord = {
    ...first,
    attempt,
    status,
    migrations: [{ from: "n1", to: "n2", at, reason: "node_left" }],
    tries: [
      { attempt: status === "running" ? attempt - 1 : attempt, node: "n2", at, error: retryable },
    ],
  };
  expect(nodesThatRan(record)).toEqual(["n2", "n1"]);
});

type Step = "ok" | "fail" | "lose" | "back" | "cancel" | "stale" | "adopt";

test("whatever happens, a record follows the arrows, and a final one never changes", () => {
  const steps = fc.array(
    fc.constantFrom<Step>("ok", "fail", "lose", "back", "cancel", "stale", "adopt"),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(steps, (taken) => {
      let record = started(submission, undefined, on("n1"));
      for (const step of taken) {
        const next = apply(record, step);
        if (next === record) continue;
        expect(TASK_TRANSITIONS[record.status]).toContain(next.status);
        expect(next.attempt).toBeGreaterThanOrEqual(record.attempt);
        expect(TaskRecord.safeParse(next).success).toBe(true);
        record = next;
        if (record.status !== "retrying") continue;
        const again = started(submission, record, on("n1"));
        expect(again.attempt).toBe(record.attempt + 1);
        record = again;
      }
      expect(triesUsed(record)).toBeLessThanOrEqual(record.maxAttempts);
    }),
  );
});

test("a rejected task has never run", () => {
  const error = { code: "bad_header", message: "no", retryable: false };
  const record = rejected(submission, error, { epoch: 3, at });
  expect(record).toMatchObject({ status: "rejected", attempt: 0, node: null, error });
});

function apply(record: TaskRecord, step: Step): TaskRecord {
  if (isFinal(record.status)) return record;
  switch (step) {
    case "cancel":
      return cancelled(submission, record, { epoch: 1, at });
    case "adopt":
      return adopted(record, record.epoch + 1);
    case "lose":
      return moved(record, "node_failed", { epoch: 1, at }).record;
    case "back":
      return moved(record, "handed_back", { epoch: 1, at }).record;
    case "stale": {
      const outcome: Outcome = { attempt: record.attempt + 1, epoch: 1, ok: true, result: 1 };
      const decision = decideOutcome(record, { node: "n1", outcome, epoch: 1, at, dueAt });
      return "record" in decision ? decision.record : record;
    }
    case "ok":
    case "fail": {
      const { attempt } = record;
      const ok: Outcome = { attempt, epoch: 1, ok: true, result: 1 };
      const outcome = step === "ok" ? ok : failure(attempt);
      const decision = decideOutcome(record, { node: "n1", outcome, epoch: 1, at, dueAt });
      return "record" in decision ? decision.record : record;
    }
  }
}
