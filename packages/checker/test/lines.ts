/** Histories made by hand: lines with everything that does not matter filled in. */
import type { TaskRecord } from "@swarm-mesh/protocol";
import { Checker, type HistoryEntry, HistoryLine, type Violation } from "../src/mod.ts";

/** When every history made by hand begins, milliseconds since the epoch. */
export const T0 = 1_790_000_000_000;

/** A moment, `ms` after the beginning, as records have it. */
export function iso(ms: number): string {
  return new Date(T0 + ms).toISOString();
}

type LineFields = Record<string, unknown>;

/** A line seen `ms` after the beginning. */
export function line(ms: number, what: HistoryEntry["what"], fields: LineFields = {}): HistoryLine {
  return HistoryLine.parse({ at: T0 + ms, by: "test", what, ...fields });
}

/** A record of a task that runs its first attempt on n1, but for the fields given. */
export function taskRecord(task: string, fields: Partial<TaskRecord> = {}): TaskRecord {
  const status = fields.status ?? "running";
  const final = status !== "running" && status !== "retrying";
  const ran = (fields.attempt ?? 1) > 0;
  return {
    id: task,
    capability: "work",
    lane: "normal",
    status,
    attempt: 1,
    maxAttempts: 3,
    node: ran ? "n1" : null,
    agent: null,
    incarnation: ran ? 11 : null,
    epoch: 5,
    submittedAt: iso(0),
    startedAt: ran ? iso(10) : null,
    finishedAt: final ? iso(100) : null,
    progress: null,
    result: status === "succeeded" ? { fine: true } : null,
    error: null,
    migrations: [],
    tries: [],
    dueAt: status === "retrying" ? iso(500) : null,
    trace: null,
    ...fields,
  };
}

/** A change of the task `t1`, stored when it was seen. */
export function record(
  ms: number,
  revision: number,
  fields: Partial<TaskRecord> = {},
  task = "t1",
): HistoryLine {
  return line(ms, "record", { task, revision, record: taskRecord(task, fields) });
}

/** A failed try, as records keep it. */
export function failedTry(attempt: number, retryable = true): TaskRecord["tries"][number] {
  const error = { code: "handler_failed", message: "no luck", retryable };
  return { attempt, node: "n1", at: iso(50), error };
}

/** A move away from n1. */
export const move: TaskRecord["migrations"][number] = {
  from: "n1",
  to: "n2",
  at: iso(60),
  reason: "node_failed",
};

/** What the checker finds in these lines, each line's number being its place. */
export function violationsOf(lines: readonly HistoryLine[]): readonly Violation[] {
  const checker = new Checker();
  for (const [index, one] of lines.entries()) checker.hear(one, index + 1);
  return checker.judge().violations;
}
