/**
 * What becomes of a task's record: each fact and the record it leads to.
 *
 *     message ──▶ running ──outcome ok──▶ succeeded
 *                  │  ▲ └──outcome not ok──▶ retrying (tries left) or failed
 *                  │  └──── next try is due, or the node is lost: attempt + 1
 *                  └──cancel──▶ cancelled
 *
 * Everything here is a function of the record and the fact: no clock, no store. Whoever writes the
 * result compares and swaps on the revision it decided by; the loser reads again and decides again.
 *
 * `attempt` grows with every placement, so it is a fence. Tries used are `attempt` minus the moves:
 * losing a node uses none up, but moves have a limit of their own.
 */
import {
  type FailedTry,
  isFinal,
  type Lane,
  LOSSES_MAX,
  type MoveReason,
  type Outcome,
  type SubmitOptions,
  type TaskRecord,
  type WireError,
  wireError,
} from "@swarm-mesh/protocol";

/** The part of a submit that every record of the task repeats. */
export interface Submission {
  readonly id: string;
  readonly capability: string;
  readonly lane: Lane;
  readonly options: SubmitOptions;
  /** ISO 8601: when the submit was stored. */
  readonly submittedAt: string;
  /** The try that the message at hand is to become, when it is no submit. */
  readonly retryAttempt?: number | undefined;
}

/** Where a try runs. */
export interface Placement {
  readonly node: string;
  readonly incarnation: number;
  readonly epoch: number;
  /** ISO 8601. */
  readonly at: string;
}

/** Moves of one task that are kept, and therefore allowed, whatever their reason. */
const MOVES_MAX = 100;

/** A task's record before it ever ran. */
function blank(submission: Submission, epoch: number): TaskRecord {
  return {
    id: submission.id,
    capability: submission.capability,
    lane: submission.lane,
    status: "running",
    attempt: 0,
    maxAttempts: submission.options.maxAttempts,
    node: null,
    agent: null,
    incarnation: null,
    epoch,
    submittedAt: submission.submittedAt,
    startedAt: null,
    finishedAt: null,
    progress: null,
    result: null,
    error: null,
    migrations: [],
    tries: [],
    dueAt: null,
    trace: submission.options.trace ?? null,
  };
}

/** The record of the task's next try, on the node chosen. */
export function started(
  submission: Submission,
  record: TaskRecord | undefined,
  placement: Placement,
): TaskRecord {
  const before = record ?? blank(submission, placement.epoch);
  return {
    ...before,
    status: "running",
    // A record may expire while its retry waits; the number of the try only grows all the same.
    attempt: Math.max(before.attempt + 1, submission.retryAttempt ?? 1),
    node: placement.node,
    agent: null,
    incarnation: placement.incarnation,
    epoch: placement.epoch,
    startedAt: placement.at,
    finishedAt: null,
    dueAt: null,
    migrations: before.migrations.map((move) =>
      move.to === null ? { ...move, to: placement.node } : move,
    ),
  };
}

/** The record under a new leader: the same try, fenced against the old one's writes. */
export function adopted(record: TaskRecord, epoch: number): TaskRecord {
  return { ...record, epoch };
}

/** The record of a task that will never run, with the reason. */
export function rejected(
  submission: Submission,
  error: WireError,
  where: { readonly epoch: number; readonly at: string },
): TaskRecord {
  return { ...blank(submission, where.epoch), status: "rejected", error, finishedAt: where.at };
}

/** The record of a task someone cancelled; `record` is what there was, if anything. */
export function cancelled(
  submission: Submission,
  record: TaskRecord | undefined,
  where: { readonly epoch: number; readonly at: string },
): TaskRecord {
  return {
    ...(record ?? blank(submission, where.epoch)),
    status: "cancelled",
    epoch: where.epoch,
    error: wireError("cancelled", "cancelled on request"),
    finishedAt: where.at,
    dueAt: null,
  };
}

/** What an outcome leads to. */
export type OutcomeDecision =
  | { readonly kind: "final"; readonly record: TaskRecord }
  | { readonly kind: "retry"; readonly record: TaskRecord }
  /** The node gave it back: place it again, no try used up. */
  | { readonly kind: "move"; readonly reason: MoveReason }
  /** Not the current try of the current node. */
  | { readonly kind: "stale" };

/** An outcome, who told it, and in which term it is heard. */
export interface OutcomeFact {
  readonly node: string;
  readonly outcome: Outcome;
  readonly epoch: number;
  readonly at: string;
  /** When the next try would be due. */
  readonly dueAt: string;
}

/** What a node that was sent a task without being asked says instead of taking it. */
const REFUSALS: ReadonlySet<string> = new Set(["busy", "unknown_capability"]);

/** Decides what a node's outcome does to the record. A repeat of a recorded one is `stale` here. */
export function decideOutcome(record: TaskRecord, fact: OutcomeFact): OutcomeDecision {
  const { outcome } = fact;
  const current =
    record.status === "running" && record.node === fact.node && record.attempt === outcome.attempt;
  if (!current) return { kind: "stale" };
  const agent = outcome.agent ?? null;
  if (outcome.ok) {
    return {
      kind: "final",
      record: {
        ...record,
        status: "succeeded",
        agent,
        epoch: fact.epoch,
        result: outcome.result ?? null,
        error: null,
        finishedAt: fact.at,
      },
    };
  }
  if (outcome.error.code === "handed_back") return { kind: "move", reason: "handed_back" };
  if (outcome.error.code === "lease_lost") return { kind: "move", reason: "node_failed" };
  if (REFUSALS.has(outcome.error.code)) return { kind: "move", reason: "refused" };
  return decideFailure({ ...record, agent }, outcome.error, fact);
}

function decideFailure(
  record: TaskRecord,
  error: WireError,
  fact: { readonly epoch: number; readonly at: string; readonly dueAt: string },
): OutcomeDecision {
  const failed: TaskRecord = {
    ...record,
    epoch: fact.epoch,
    error,
    tries: shortened([
      ...record.tries,
      { attempt: record.attempt, node: record.node, at: fact.at, error },
    ]),
  };
  if (error.retryable && triesUsed(record) < record.maxAttempts) {
    return { kind: "retry", record: { ...failed, status: "retrying", dueAt: fact.dueAt } };
  }
  return { kind: "final", record: { ...failed, status: "failed", finishedAt: fact.at } };
}

/** Characters that the messages of all failed tries may have together, so that a result fits as well. */
const TRIES_TEXT_MAX_CHARS = 16 * 1024;

/** The tries, their messages cut to an equal share of what all may have. */
function shortened(tries: readonly FailedTry[]): FailedTry[] {
  const share = Math.floor(TRIES_TEXT_MAX_CHARS / tries.length);
  return tries.map((one) => ({ ...one, error: cut(one.error, share) }));
}

function cut(error: WireError, maxChars: number): WireError {
  if (error.message.length <= maxChars) return error;
  return { ...error, message: error.message.slice(0, maxChars) };
}

/** What is left of a record that the store will not take: the task failed, and why. */
export function unstorable(record: TaskRecord, problem: string, at: string): TaskRecord {
  return {
    ...record,
    status: "failed",
    progress: null,
    result: null,
    error: wireError("payload_too_large", `the store refused the result: ${problem}`),
    finishedAt: at,
    dueAt: null,
  };
}

/** Tries that count against `maxAttempts`. */
export function triesUsed(record: TaskRecord): number {
  return record.attempt - record.migrations.length;
}

/** The record of a task that leaves its node, before the next one is known; or why it may not. */
export function moved(
  record: TaskRecord,
  reason: MoveReason,
  where: { readonly epoch: number; readonly at: string },
): { readonly kind: "again" | "final"; readonly record: TaskRecord } {
  const losses = record.migrations.filter((move) => move.reason === "node_failed").length;
  if (
    (reason === "node_failed" && losses >= LOSSES_MAX) ||
    record.migrations.length >= MOVES_MAX ||
    record.node === null
  ) {
    const error = wireError("too_many_losses", `${losses} nodes were lost while they ran it`);
    return {
      kind: "final",
      record: { ...record, status: "failed", epoch: where.epoch, error, finishedAt: where.at },
    };
  }
  return {
    kind: "again",
    record: {
      ...record,
      status: "retrying",
      epoch: where.epoch,
      dueAt: where.at,
      migrations: [...record.migrations, { from: record.node, to: null, at: where.at, reason }],
    },
  };
}

/** What a message means, given the record that was there when it came. */
export type MessageDecision =
  /** Run it, as try `record.attempt + 1`, or as the first. */
  | { readonly kind: "place" }
  /** A node has it, or had it: ask there, or move it. */
  | { readonly kind: "adopt" }
  /** It waits for its due time: make sure that it is scheduled, then let the message go. */
  | { readonly kind: "schedule" }
  /** Over: let this one go. */
  | { readonly kind: "drop" };

/**
 * Decides what a message that came from the stream means.
 *
 * @param retryAttempt the try a message of the retry lane is to become; `undefined` for a submit.
 */
export function decideMessage(
  record: TaskRecord | undefined,
  retryAttempt: number | undefined,
): MessageDecision {
  if (record === undefined) return { kind: "place" };
  if (isFinal(record.status)) return { kind: "drop" };
  // Whatever message comes first stands for the task: a try may have moved on under an older one.
  if (record.status === "running") return { kind: "adopt" };
  // The next try's own message may not be stored yet: whoever died before that left this one.
  const isNext = retryAttempt !== undefined && retryAttempt > record.attempt;
  return isNext ? { kind: "place" } : { kind: "schedule" };
}

/**
 * Nodes that ran the task, newest first, each once: where its checkpoint may be. Each attempt that is
 * over either failed or was moved. The times of both are no help: they are of several clocks.
 */
export function nodesThatRan(record: TaskRecord): string[] {
  const failed = new Map(record.tries.map(({ attempt, node }) => [attempt, node]));
  const moves = record.migrations.values();
  const nodes: string[] = [];
  const last = record.status === "running" ? record.attempt - 1 : record.attempt;
  const first = last - record.tries.length - record.migrations.length + 1;
  for (let attempt = first; attempt <= last; attempt++) {
    const node = failed.has(attempt) ? failed.get(attempt) : moves.next().value?.from;
    if (typeof node === "string") nodes.push(node);
  }
  return [...new Set(nodes.reverse())];
}
