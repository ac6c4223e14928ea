import type { TaskRecord } from "@swarm-mesh/protocol";
import { describe, expect, test } from "vitest";
import { type HistoryLine, RUN_RULES, TASK_RULES } from "../src/mod.ts";
import { failedTry, iso, line, move, record, T0, taskRecord, violationsOf } from "./lines.ts";

/** Two histories that differ in what the rule is about. */
interface Case {
  readonly title: string;
  readonly clean: readonly HistoryLine[];
  readonly broken: readonly HistoryLine[];
}

const watching = line(0, "watching", {
  kinds: ["records", "dead-letters", "runs", "checkpoints", "nodes", "leases"],
});
const acknowledged = line(1, "acknowledged", { task: "t1" });
const leads = line(0, "leader-lease", {
  service: "coordinator",
  revision: 5,
  holder: { instance: "coordinator-1", epoch: 5 },
});
const followed = line(50, "leader-lease", {
  service: "coordinator",
  revision: 9,
  holder: { instance: "coordinator-2", epoch: 9 },
});
const started = (ms: number, attempt: number, fields: object = {}) =>
  line(ms, "started", { task: "t1", attempt, pid: 100 + attempt, ...fields });
const ended = (ms: number, attempt: number, how = "ok") =>
  line(ms, "ended", { task: "t1", attempt, pid: 100 + attempt, how });
const answered = (attempt: number, answer: string, fields: object = {}) =>
  line(99, "answered", { task: "t1", node: "n1", attempt, ok: true, answer, ...fields });
const look = (revision: number, of: TaskRecord | null) =>
  line(20_000, "record-final-look", { task: "t1", revision, record: of });
const saved = (ms: number, revision: number, attempt: number, value: number) =>
  line(ms, "checkpoint", { task: "t1", node: "n1", revision, value, attempt });
const node = (ms: number, revision: number, incarnation: number, state: string) =>
  line(ms, "node", { node: "n1", revision, incarnation, state });
const nodeLease = (ms: number, revision: number, incarnation: number | null) =>
  line(ms, "node-lease", { node: "n1", revision, incarnation });
const fault = (ms: number) => line(ms, "fault", { fault: "freeze", target: "n1" });
const healed = (ms: number) => line(ms, "healed", { fault: "freeze", target: "n1" });
const waiting = (...tasks: string[]) => line(20_000, "waiting-at-end", { tasks });
const end = line(20_000, "end");

const failed: Partial<TaskRecord> = {
  status: "failed",
  tries: [failedTry(1, false)],
  error: failedTry(1, false).error,
};
const running = record(10, 1);
const succeeded = record(100, 2, { status: "succeeded" });
/** A task that ran once and succeeded. */
const plain = [acknowledged, running, started(12, 1), ended(90, 1), succeeded];
const retrying: Partial<TaskRecord> = { status: "retrying", tries: [failedTry(1)] };
const second: Partial<TaskRecord> = { attempt: 2, tries: [failedTry(1)], startedAt: iso(40) };
const moved: Partial<TaskRecord> = {
  attempt: 2,
  node: "n2",
  incarnation: 12,
  migrations: [move],
  startedAt: iso(60),
};

const CASES: Readonly<Record<string, readonly Case[]>> = {
  "acknowledged-is-kept": [
    {
      title: "a task without a record waits in a stream",
      clean: [acknowledged, waiting("t1"), end],
      broken: [acknowledged, waiting(), end],
    },
    {
      title: "a history that breaks off concludes nothing",
      clean: [acknowledged, waiting()],
      broken: [acknowledged, waiting(), end],
    },
  ],
  "unfinished-has-owner": [
    {
      title: "a task that runs has its message",
      clean: [running, waiting("t1"), end],
      broken: [running, waiting(), end],
    },
    {
      title: "a task that runs has a living node",
      clean: [node(0, 1, 11, "ACTIVE"), running, waiting("t1"), end],
      broken: [node(0, 1, 11, "ACTIVE"), running, node(50, 2, 11, "FAILED"), waiting("t1"), end],
    },
    {
      title: "an attempt that ended long ago was recorded",
      clean: [running, started(12, 1), ended(19_000, 1), waiting("t1"), end],
      broken: [running, started(12, 1), ended(5_000, 1), waiting("t1"), end],
    },
    {
      title: "an attempt that was placed long ago has started",
      clean: [watching, leads, running, started(12, 1), waiting("t1"), end],
      broken: [watching, leads, running, waiting("t1"), end],
    },
    {
      title: "a retry has a due time",
      clean: [running, record(30, 2, retrying), waiting("t1"), end],
      broken: [running, record(30, 2, { ...retrying, dueAt: null }), waiting("t1"), end],
    },
  ],
  "one-final-record": [
    {
      title: "nothing follows a final record",
      clean: plain,
      broken: [...plain, record(200, 3, { status: "succeeded", result: "another" })],
    },
    {
      title: "a revision is the same for everyone",
      clean: [...plain, record(101, 2, { status: "succeeded" })],
      broken: [...plain, record(101, 2, { status: "succeeded", result: "another" })],
    },
    {
      title: "a record expires after its day, and not before",
      clean: [...plain, line(86_400_200, "record", { task: "t1", revision: 3, record: null })],
      broken: [...plain, line(5_000, "record", { task: "t1", revision: 3, record: null })],
    },
    {
      title: "a record is one",
      clean: plain,
      broken: [
        ...plain,
        line(1, "record-unreadable", { task: "t1", revision: 9, problem: "not JSON" }),
      ],
    },
  ],
  "final-look-agrees": [
    {
      title: "the last look finds what was told",
      clean: [...plain, look(2, taskRecord("t1", { status: "succeeded" }))],
      broken: [...plain, look(2, taskRecord("t1", { status: "succeeded", result: 1 }))],
    },
    {
      title: "a bucket does not go back",
      clean: [...plain, look(2, taskRecord("t1", { status: "succeeded" }))],
      broken: [...plain, look(1, taskRecord("t1"))],
    },
    {
      title: "a change that was missed is none of a final record",
      clean: [running, look(7, taskRecord("t1", { status: "succeeded" }))],
      broken: [running, succeeded, look(7, taskRecord("t1", { status: "succeeded", result: 1 }))],
    },
  ],
  "allowed-arrows": [
    {
      title: "a task begins by running, or never runs",
      clean: [watching, leads, record(10, 1, { status: "cancelled", attempt: 0 })],
      broken: [watching, leads, record(10, 1, { ...retrying })],
    },
    {
      title: "a retry does not succeed before it ran",
      clean: [running, record(30, 2, retrying), record(40, 3, second)],
      broken: [running, record(30, 2, retrying), record(40, 3, { ...failed })],
    },
    {
      title: "a change that was missed is no arrow",
      clean: [
        record(30, 2, retrying),
        line(90, "record", {
          task: "t1",
          revision: 9,
          previous: 8,
          record: taskRecord("t1", { ...second, status: "succeeded" }),
        }),
      ],
      broken: [record(30, 2, retrying), record(90, 9, { ...second, status: "succeeded" })],
    },
  ],
  "numbers-only-grow": [
    {
      title: "an epoch does not go back",
      clean: [running, record(20, 2, { epoch: 6 })],
      broken: [running, record(20, 2, { epoch: 4 })],
    },
    {
      title: "an attempt does not go back",
      clean: [running, record(30, 2, retrying), record(40, 3, second)],
      broken: [record(30, 2, second), record(40, 3, { attempt: 1, tries: [failedTry(1)] })],
    },
    {
      title: "a task stays what it is",
      clean: plain,
      broken: [running, record(100, 2, { status: "succeeded", capability: "other" })],
    },
  ],
  "moves-are-attempts": [
    {
      title: "another node means another attempt",
      clean: [running, record(60, 2, moved)],
      broken: [running, record(60, 2, { node: "n2", incarnation: 12 })],
    },
    {
      title: "no attempt is skipped",
      clean: [running, record(60, 2, moved)],
      broken: [running, record(60, 2, { ...moved, attempt: 3 })],
    },
    {
      title: "an attempt is placed once",
      clean: [running, record(30, 2, retrying), record(40, 3, second)],
      broken: [running, record(30, 2, retrying), record(40, 3, { tries: [failedTry(1)] })],
    },
    {
      title: "a move says where from",
      clean: [running, record(60, 2, moved)],
      broken: [running, record(60, 2, { ...moved, migrations: [] })],
    },
    {
      title: "only a placement is a new attempt",
      clean: [running, record(30, 2, retrying)],
      broken: [running, record(30, 2, { ...retrying, attempt: 2 })],
    },
  ],
  "moved-for-a-reason": [
    {
      title: "a task is taken from a life that ended",
      clean: [
        ...[watching, leads, node(0, 1, 11, "ACTIVE"), running, started(12, 1)],
        ...[node(50, 2, 11, "FAILED"), record(60, 2, moved), started(65, 2), waiting("t1"), end],
      ],
      broken: [
        ...[watching, leads, node(0, 1, 11, "ACTIVE"), running, started(12, 1)],
        ...[record(60, 2, moved), started(65, 2), waiting("t1"), end],
      ],
    },
    {
      title: "a life ends with its lease",
      clean: [
        ...[watching, leads, nodeLease(0, 1, 11), running, started(12, 1)],
        ...[nodeLease(70, 2, null), record(60, 2, moved), started(65, 2), waiting("t1"), end],
      ],
      broken: [
        ...[watching, leads, nodeLease(0, 1, 11), running, started(12, 1)],
        ...[nodeLease(19_000, 2, null), record(60, 2, moved), started(65, 2), waiting("t1"), end],
      ],
    },
  ],
  "tries-are-counted": [
    {
      title: "no more tries than allowed",
      clean: [record(10, 1, { maxAttempts: 1 })],
      broken: [record(10, 1, { ...second, maxAttempts: 1 })],
    },
    {
      title: "as many tries as were asked for",
      clean: [line(0, "submitting", { task: "t1", maxAttempts: 3 }), running],
      broken: [line(0, "submitting", { task: "t1", maxAttempts: 1 }), running],
    },
    {
      title: "every attempt failed, moved, or runs",
      clean: [record(60, 1, moved)],
      broken: [record(60, 1, { ...moved, migrations: [] })],
    },
    {
      title: "no task is given up while another try could help",
      clean: [record(60, 1, failed)],
      broken: [
        record(60, 1, { status: "failed", tries: [failedTry(1)], error: failedTry(1).error }),
      ],
    },
  ],
  "attempt-runs-once": [
    {
      title: "a second attempt is no second run of the first",
      clean: [running, started(12, 1), record(60, 2, moved), started(65, 2)],
      broken: [running, started(12, 1), record(60, 2, moved), started(65, 1, { pid: 7 })],
    },
  ],
  "runs-are-placed": [
    {
      title: "what runs has a record",
      clean: [watching, leads, running, started(12, 1)],
      broken: [watching, leads, running, started(12, 2)],
    },
    {
      title: "it runs where it was placed",
      clean: [watching, leads, running, started(12, 1, { node: "n1", incarnation: 11 })],
      broken: [watching, leads, running, started(12, 1, { node: "n2" })],
    },
    {
      title: "it runs in the life it was placed on",
      clean: [watching, leads, running, started(12, 1, { node: "n1", incarnation: 11 })],
      broken: [watching, leads, running, started(12, 1, { node: "n1", incarnation: 10 })],
    },
    {
      title: "the record comes first",
      clean: [watching, leads, record(2_000, 1), started(2_010, 1)],
      broken: [watching, leads, record(2_000, 1), started(12, 1)],
    },
  ],
  "result-is-of-its-attempt": [
    {
      title: "the attempt in the record came to its end",
      clean: plain,
      broken: [running, started(12, 1), succeeded],
    },
    {
      title: "it ended well",
      clean: plain,
      broken: [running, started(12, 1), ended(90, 1, "failed"), succeeded],
    },
    {
      title: "another attempt's end is none of its own",
      clean: [
        ...[running, started(12, 1), record(60, 2, moved), started(65, 2), ended(90, 2)],
        record(100, 3, { ...moved, status: "succeeded" }),
      ],
      broken: [
        ...[running, started(12, 1), record(60, 2, moved), started(65, 2), ended(90, 1)],
        record(100, 3, { ...moved, status: "succeeded" }),
      ],
    },
  ],
  "nothing-starts-after-the-end": [
    {
      title: "a dispatch on its way arrives soon",
      clean: [running, record(20, 2, { status: "cancelled" }), started(400, 1)],
      broken: [running, record(20, 2, { status: "cancelled" }), started(2_000, 1)],
    },
    {
      title: "after a fault it may take a lease longer",
      clean: [
        ...[fault(5), healed(2_000), running, record(20, 2, { status: "cancelled" })],
        started(2_000, 1),
      ],
      broken: [
        ...[fault(5), healed(2_000), running, record(20, 2, { status: "cancelled" })],
        started(9_000, 1),
      ],
    },
  ],
  "cancel-stops": [
    {
      title: "a cancelled task stops within its grace",
      clean: [running, started(12, 1), record(20, 2, { status: "cancelled" }), ended(900, 1)],
      broken: [running, started(12, 1), record(20, 2, { status: "cancelled" }), ended(9_000, 1)],
    },
    {
      title: "an order that a fault swallowed is forgiven",
      clean: [
        ...[running, started(12, 1), fault(15), record(20, 2, { status: "cancelled" })],
        ended(9_000, 1),
      ],
      broken: [running, started(12, 1), record(20, 2, { status: "cancelled" }), ended(9_000, 1)],
    },
  ],
  "answers-hold": [
    {
      title: "a recorded result is in the record",
      clean: [...plain, answered(1, "recorded")],
      broken: [...plain, answered(2, "recorded")],
    },
    {
      title: "a recorded failure is in the record",
      clean: [running, record(30, 2, retrying), answered(1, "recorded", { ok: false })],
      broken: [running, answered(1, "recorded", { ok: false })],
    },
    {
      title: "a stale result has no effect",
      clean: [...plain, answered(1, "stale", { node: "n2" })],
      broken: [...plain, answered(1, "stale")],
    },
  ],
  "checkpoints-go-forward": [
    {
      title: "the next attempt goes on from what was saved",
      clean: [running, saved(30, 1, 1, 4), record(60, 2, moved), started(65, 2, { from: 4 })],
      broken: [running, saved(30, 1, 1, 4), record(60, 2, moved), started(65, 2, { from: 3 })],
    },
    {
      title: "what was saved after the move counts for the attempt after",
      clean: [running, saved(70, 1, 1, 4), record(60, 2, moved), started(65, 2, { from: 0 })],
      broken: [running, saved(30, 1, 1, 4), record(60, 2, moved), started(65, 2, { from: 0 })],
    },
    {
      title: "an attempt saves more and more",
      clean: [running, saved(30, 1, 1, 4), saved(40, 2, 1, 5)],
      broken: [running, saved(30, 1, 1, 4), saved(40, 2, 1, 3)],
    },
  ],
  "failures-are-told": [
    {
      title: "a failure says why",
      clean: [record(60, 1, failed)],
      broken: [record(60, 1, { ...failed, error: null })],
    },
    {
      title: "a failure has a dead letter",
      clean: [
        ...[watching, leads, running, record(60, 2, failed)],
        ...[line(61, "dead-letter", { task: "t1", status: "failed" }), end],
      ],
      broken: [watching, leads, running, record(60, 2, failed), end],
    },
    {
      title: "a success has none",
      clean: plain,
      broken: [...plain, line(101, "dead-letter", { task: "t1", status: "failed" })],
    },
  ],
  "times-in-order": [
    {
      title: "finished after it started",
      clean: plain,
      broken: [running, record(100, 2, { status: "succeeded", finishedAt: iso(-5_000) })],
    },
    {
      title: "started after it was submitted",
      clean: [running],
      broken: [record(10, 1, { startedAt: iso(-5_000) })],
    },
    {
      title: "finished when it is final",
      clean: plain,
      broken: [running, record(100, 2, { status: "succeeded", finishedAt: null })],
    },
    {
      title: "due when it is retried",
      clean: [running, record(30, 2, retrying)],
      broken: [record(10, 1, { dueAt: iso(50) })],
    },
  ],
  "clients-see-the-record": [
    {
      title: "a client is told what the record says",
      clean: [...plain, line(120, "result-seen", { task: "t1", status: "succeeded", attempt: 1 })],
      broken: [...plain, line(120, "result-seen", { task: "t1", status: "cancelled" })],
    },
    {
      title: "a client is told nothing that no record says",
      clean: [watching, line(120, "result-seen", { task: "t1", status: "succeeded" })],
      broken: [watching, line(120, "result-seen", { task: "t1", status: "succeeded" }), end],
    },
  ],
  "epoch-had-the-lease": [
    {
      title: "a term that wrote had led",
      clean: [watching, leads, running],
      broken: [watching, leads, record(10, 1, { epoch: 6 })],
    },
    {
      title: "a term that was followed writes no more",
      clean: [watching, leads, followed, record(900, 1)],
      broken: [watching, leads, followed, record(2_000, 1)],
    },
  ],
  "placed-on-the-living": [
    {
      title: "a life that has ended is given nothing",
      clean: [
        ...[node(0, 1, 11, "ACTIVE"), node(10, 2, 11, "FAILED"), record(900, 1)],
        node(950, 3, 11, "JOINING"),
      ],
      broken: [node(0, 1, 11, "ACTIVE"), node(10, 2, 11, "FAILED"), record(5_000, 1)],
    },
    {
      title: "a life that was followed is given nothing",
      clean: [node(0, 1, 11, "ACTIVE"), record(5_000, 1)],
      broken: [node(0, 1, 12, "ACTIVE"), record(5_000, 1)],
    },
  ],
  "lease-ends-runs": [
    {
      title: "a node without its lease runs nothing to its end",
      clean: [
        nodeLease(0, 1, 11),
        nodeLease(9_000, 2, null),
        running,
        started(12, 1),
        ended(90, 1),
      ],
      broken: [
        ...[nodeLease(0, 1, 11), nodeLease(9_000, 2, null), running, started(12, 1)],
        ended(15_000, 1),
      ],
    },
    {
      title: "one that was frozen needs a moment to notice",
      clean: [
        ...[nodeLease(0, 1, 11), nodeLease(6_000, 2, null), fault(50), healed(9_000), running],
        ...[started(12, 1), ended(9_100, 1)],
      ],
      broken: [
        ...[nodeLease(0, 1, 11), nodeLease(6_000, 2, null), fault(50), healed(9_000), running],
        ...[started(12, 1), ended(12_000, 1)],
      ],
    },
  ],
  "started-under-the-newest": [
    {
      title: "an order of an older term has no effect",
      clean: [leads, followed, running, started(400, 1, { epoch: 5 })],
      broken: [leads, followed, running, started(4_000, 1, { epoch: 5 })],
    },
  ],
  "one-leader-acts": [
    {
      title: "an older term writes nothing after a newer one, of whatever task",
      clean: [record(10, 1), record(20, 2, { epoch: 9 }, "t2")],
      broken: [record(10, 1, { epoch: 9 }), record(20, 2, {}, "t2")],
    },
    {
      title: "the lease goes to newer terms alone",
      clean: [leads, followed],
      broken: [
        line(0, "leader-lease", {
          service: "coordinator",
          revision: 4,
          holder: { instance: "coordinator-2", epoch: 9 },
        }),
        leads,
      ],
    },
    {
      title: "a term is one replica's",
      clean: [leads],
      broken: [
        leads,
        line(50, "leader-lease", {
          service: "coordinator",
          revision: 9,
          holder: { instance: "coordinator-2", epoch: 5 },
        }),
      ],
    },
  ],
  "lives-only-grow": [
    {
      title: "each life has a number of its own",
      clean: [
        ...[node(0, 1, 11, "ACTIVE"), node(1, 2, 11, "FAILED"), node(2, 3, 11, "JOINING")],
        node(3, 4, 12, "ACTIVE"),
      ],
      broken: [
        ...[node(0, 1, 11, "ACTIVE"), node(1, 2, 11, "FAILED"), node(2, 3, 11, "JOINING")],
        node(3, 4, 11, "ACTIVE"),
      ],
    },
    {
      title: "no life comes back",
      clean: [node(0, 1, 11, "ACTIVE"), node(1, 2, 11, "DEGRADED")],
      broken: [node(0, 1, 11, "ACTIVE"), node(1, 2, 10, "DEGRADED")],
    },
    {
      title: "a node's state goes along its arrows",
      clean: [node(0, 1, 11, "ACTIVE"), node(1, 2, 11, "LEAVING"), node(2, 3, 11, "LEFT")],
      broken: [node(0, 1, 11, "ACTIVE"), node(1, 2, 11, "LEFT")],
    },
    {
      title: "a lease is not given to an older life",
      clean: [nodeLease(0, 1, 11), nodeLease(1, 2, null), nodeLease(2, 3, 12)],
      broken: [nodeLease(0, 1, 12), nodeLease(1, 2, null), nodeLease(2, 3, 11)],
    },
  ],
};

describe.each(Object.entries(CASES))("%s", (rule, cases) => {
  test.each(cases)("$title: so it may be", ({ clean }) => {
    expect(violationsOf(clean)).toEqual([]);
  });

  test.each(cases)("$title: so it may not", ({ broken }) => {
    const own = violationsOf(broken).filter((violation) => violation.rule === rule);
    expect(own).not.toEqual([]);
    for (const { evidence, problem } of own) {
      expect(evidence.length).toBeGreaterThan(0);
      expect(evidence.every(({ line: at }) => at >= 1 && at <= broken.length)).toBe(true);
      expect(problem).toMatch(/^\S.*[^.]$/);
    }
  });
});

test("every rule has its cases", () => {
  const names = [...TASK_RULES, ...RUN_RULES].map(({ name }) => name);
  expect(Object.keys(CASES).sort()).toEqual([...names].sort());
});

test("the evidence is the lines, whatever was heard first", () => {
  const broken = CASES["attempt-runs-once"]?.[0]?.broken ?? [];
  expect(violationsOf(broken)[0]).toMatchObject({
    rule: "attempt-runs-once",
    task: "t1",
    problem: "attempt 1 was started a second time, in another process",
    evidence: [
      { source: "history", line: 2 },
      { source: "history", line: 4 },
    ],
  });
  expect(broken[1]?.at).toBe(T0 + 12);
});
