/**
 * What a mesh did, as seen from outside: one JSON object a line, in the order it was written down.
 *
 *     {"at":1790000000123.4,"by":"client","what":"acknowledged","task":"t1","duplicate":false}
 *     {"at":1790000000125.0,"by":"bucket","what":"record","task":"t1","revision":7,"record":{…}}
 *     {"at":1790000000126.9,"by":"n2","what":"started","task":"t1","attempt":1,"pid":4711}
 *
 * Lines of different observers may be in any order and in different files: whatever compares two
 * observers goes by `at`, with a margin. Lines about one key of one bucket are told apart by
 * `revision`, so they may come twice and out of order too. A history need not hold every kind of line:
 * a rule that needs a kind says nothing without it. What follows from a line that is *missing* is
 * only concluded where `watching` says that the kind was followed from the start.
 */
import {
  Capability,
  NodeId,
  NodeState,
  TaskId,
  TaskRecord,
  TaskStatus,
} from "@swarm-mesh/protocol";
import { z } from "zod";

/** Wall clock, milliseconds since the epoch; fractions allowed. */
const Millis = z.number().nonnegative();
/** A stored revision: grows over a whole bucket. */
const Revision = z.int().positive();
const Attempt = z.int().positive();
const Count = z.int().nonnegative();

/** On every line. */
const base = {
  /** When the observer saw it. */
  at: Millis,
  /** The observer, for people: `client`, `bucket`, `n2`, `handler-4711`, `injector`, … */
  by: z.string().min(1),
};

/** A line's schema: the fields of every line, `what`, and its own. Unknown fields are dropped. */
const line = <W extends string, S extends z.ZodRawShape>(what: W, shape: S) =>
  z.object({ ...base, what: z.literal(what), ...shape });

/** Kinds of lines that an observer may promise to write without a gap. */
export const Watched = z.enum([
  /** `record`: every accepted change of the task records. */
  "records",
  /** `dead-letter`. */
  "dead-letters",
  /** `started` and `ended`: every run of every handler. */
  "runs",
  /** `checkpoint`. */
  "checkpoints",
  /** `node`. */
  "nodes",
  /** `leader-lease` and `node-lease`. */
  "leases",
]);
export type Watched = z.infer<typeof Watched>;

/** First line of an observer: it writes these kinds down, all of them, from the beginning of the run. */
const Watching = line("watching", {
  kinds: z.array(Watched),
  /** For `runs`: the capabilities whose handlers tell; left out: all. */
  capabilities: z.array(Capability).optional(),
});

// ── The client ──────────────────────────────────────────────────────────────────────────────────

/** A client is about to publish; `id` and capability as it will submit them. */
const Submitting = line("submitting", {
  task: TaskId,
  capability: Capability.optional(),
  /** `Mesh-Max-Attempts`, when given. */
  maxAttempts: z.int().positive().optional(),
});

/** The PubAck was seen: from here on the task may not be lost. `duplicate`: as the PubAck said. */
const Acknowledged = line("acknowledged", {
  task: TaskId,
  capability: Capability.optional(),
  duplicate: z.boolean().default(false),
});

/** The submit was refused for good. (A submit that timed out is neither: nothing is known of it.) */
const Refused = line("refused", { task: TaskId, reason: z.string() });

/** A client was told that the task is over: by `get`, by following, or as the answer to a cancel. */
const ResultSeen = line("result-seen", {
  task: TaskId,
  status: TaskStatus,
  attempt: Count.optional(),
});

/** A client asks for the task to be cancelled. Its answer, once final, is a `result-seen`. */
const CancelAsked = line("cancel-asked", { task: TaskId });

// ── The buckets and streams ─────────────────────────────────────────────────────────────────────

/**
 * A change of a task's record that the store accepted. `record` is null when the key was deleted or
 * expired.
 */
const Record = line("record", {
  task: TaskId,
  revision: Revision,
  /**
   * The revision of this key that the write was made on (its compare-and-swap), 0 for a new key; left
   * out when not known. With it a change that the observer missed is not mistaken for a wrong arrow.
   */
  previous: Count.optional(),
  /** When the store took it, by the store's clock. */
  storedAt: Millis.optional(),
  record: TaskRecord.nullable(),
});

/** A change of a task's record that cannot be read as one. Always a violation. */
const RecordUnreadable = line("record-unreadable", {
  task: TaskId,
  revision: Revision,
  problem: z.string(),
});

/** What the bucket says of a task when the run is over; `revision` 0 and null: nothing. */
const RecordFinalLook = line("record-final-look", {
  task: TaskId,
  revision: Count,
  record: TaskRecord.nullable(),
});

/**
 * When the run is over: the tasks whose messages are still in the task streams (`MESH_TASKS`,
 * `MESH_RETRIES`). Written once all streams were read, with an empty list when there are none; several
 * lines add up.
 */
const WaitingAtEnd = line("waiting-at-end", { tasks: z.array(TaskId) });

/** A dead letter was stored. */
const DeadLetter = line("dead-letter", { task: TaskId, status: z.enum(["failed", "rejected"]) });

/** A task's saved state was stored, as the bucket said. `value`: see below; null when it went. */
const Checkpoint = line("checkpoint", {
  task: TaskId,
  node: NodeId,
  revision: Revision,
  /** When the store took it, by the store's clock. */
  storedAt: Millis.optional(),
  /** How far the handler was, as a number that only grows with its work. */
  value: z.number().nullable(),
  /** The try that saved it, where the value tells. */
  attempt: Attempt.optional(),
});

/** A change of a node's record. */
const Node = line("node", {
  node: NodeId,
  revision: Revision,
  incarnation: Count,
  state: NodeState,
});

/** A change of `leader.<service>`. `holder` null: given back, or expired. */
const LeaderLease = line("leader-lease", {
  service: z.string(),
  revision: Revision,
  /** When the store took it, by the store's clock. */
  storedAt: Millis.optional(),
  holder: z
    .object({
      instance: z.string(),
      /** The term; where the lease says 0 (its acquiring write), the revision of that write. */
      epoch: z.int().positive(),
    })
    .nullable(),
});

/** A change of `node.<node>` in the leases. `incarnation` null: given back, or expired. */
const NodeLease = line("node-lease", {
  node: NodeId,
  revision: Revision,
  /** When the store took it, by the store's clock. */
  storedAt: Millis.optional(),
  incarnation: Count.nullable(),
});

// ── Nodes and handlers ──────────────────────────────────────────────────────────────────────────

/** A handler begins a try. Written by the handler itself, so that it tells what really ran. */
const Started = line("started", {
  task: TaskId,
  attempt: Attempt,
  /** The process; together with `node` and `incarnation`, as far as known, the life that runs it. */
  pid: z.int().nonnegative(),
  node: NodeId.optional(),
  incarnation: Count.optional(),
  /** The term under which it was sent. */
  epoch: Count.optional(),
  /** The checkpoint value it goes on from; 0 for none. */
  from: z.number().optional(),
});

/** A handler's try is over. A handler that is killed writes none. */
const Ended = line("ended", {
  task: TaskId,
  attempt: Attempt,
  pid: z.int().nonnegative(),
  /** `ok`: it came to its end; `failed`: it threw; `aborted`: its signal stopped it. */
  how: z.enum(["ok", "failed", "aborted"]),
});

/** An outcome was answered. */
const Answered = line("answered", {
  task: TaskId,
  node: NodeId,
  attempt: Attempt,
  /** Was it an outcome with a result? */
  ok: z.boolean(),
  answer: z.enum(["recorded", "stale", "refused"]),
});

// ── The run ─────────────────────────────────────────────────────────────────────────────────────

/** Something is done to the mesh: `kill`, `freeze`, `cut`, … to `n1`, `coordinator-1`, … */
const Fault = line("fault", {
  fault: z.string(),
  target: z.string(),
  /** For a wall clock that is put wrong: by how many milliseconds, forward or back. */
  shiftMs: z.number().optional(),
});

/** A fault is over: thawed, linked, started again. */
const Healed = line("healed", { fault: z.string(), target: z.string() });

/** The run is over and at rest: what is not finished now never will be. */
const End = line("end", {});

/** One line of a history. */
export const HistoryLine = z.discriminatedUnion("what", [
  Watching,
  Submitting,
  Acknowledged,
  Refused,
  ResultSeen,
  CancelAsked,
  Record,
  RecordUnreadable,
  RecordFinalLook,
  WaitingAtEnd,
  DeadLetter,
  Checkpoint,
  Node,
  LeaderLease,
  NodeLease,
  Started,
  Ended,
  Answered,
  Fault,
  Healed,
  End,
]);
export type HistoryLine = z.infer<typeof HistoryLine>;

/** A line as it may be written: what has a default may be left out. */
export type HistoryEntry = z.input<typeof HistoryLine>;

/** The kinds of lines there are. */
export type HistoryKind = HistoryLine["what"];

/** A line of one kind. */
export type LineOf<K extends HistoryKind> = Extract<HistoryLine, { readonly what: K }>;
