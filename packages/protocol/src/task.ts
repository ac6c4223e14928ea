/**
 * Tasks: the record, the outcome a node reports, and the answers around them.
 *
 *                      ┌──────────────── retrying ◀──────────────┐
 *                      ▼                    │                    │ failed, tries left
 *     (waiting) ──▶ running ──▶ succeeded   ▼                    │
 *         │            │   └──────────▶ cancelled ◀──┐           │
 *         │            ├──▶ failed                   │           │
 *         │            └─────────────────────────────┴───────────┘
 *         ├──▶ cancelled
 *         └──▶ rejected
 *
 * A task without a record waits in `MESH_TASKS`. The last four states are final.
 */
import { z } from "zod";
import { WireError } from "./errors.ts";
import { AgentName, Capability, Lane, NodeId, TaskId } from "./names.ts";

export const TaskStatus = z.enum([
  "running",
  "retrying",
  "succeeded",
  "failed",
  "cancelled",
  "rejected",
]);
export type TaskStatus = z.infer<typeof TaskStatus>;

/** The states a record may go to from each state. A final state leads nowhere. */
export const TASK_TRANSITIONS: Readonly<Record<TaskStatus, readonly TaskStatus[]>> = {
  running: ["running", "retrying", "succeeded", "failed", "cancelled"],
  retrying: ["running", "cancelled", "retrying"],
  succeeded: [],
  failed: [],
  cancelled: [],
  rejected: [],
};

export function isFinal(status: TaskStatus): boolean {
  return TASK_TRANSITIONS[status].length === 0;
}

const Time = z.iso.datetime();
const Count = z.int().nonnegative();

/** Why a task left a node that had it. */
export const MoveReason = z.enum([
  "node_failed",
  "node_left",
  "no_responders",
  "handed_back",
  "refused",
]);
export type MoveReason = z.infer<typeof MoveReason>;

/** One change of node. `to` is `null` while no node able to take the task is known. */
export const Migration = z.object({
  from: NodeId,
  to: NodeId.nullable(),
  at: Time,
  reason: MoveReason,
});
export type Migration = z.infer<typeof Migration>;

/** One try that ended without a result. */
export const FailedTry = z.object({
  attempt: Count,
  node: NodeId.nullable(),
  at: Time,
  error: WireError,
});
export type FailedTry = z.infer<typeof FailedTry>;

/**
 * A task's record, the value of `<task>` in `mesh_tasks`. Unknown fields are kept, so that an
 * older service cannot erase a newer one's.
 */
export const TaskRecord = z.looseObject({
  id: TaskId,
  /** As the submit named it; for a `rejected` task it may be no capability at all. */
  capability: z.string(),
  lane: Lane,
  status: TaskStatus,
  /** The current or last try, from 1; 0 when it never ran. Grows with every placement. */
  attempt: Count,
  maxAttempts: Count,
  /** The node that runs it or ran it last. */
  node: NodeId.nullable(),
  agent: AgentName.nullable(),
  incarnation: Count.nullable(),
  /** The leader's term that wrote the record last. */
  epoch: Count,
  submittedAt: Time,
  startedAt: Time.nullable(),
  finishedAt: Time.nullable(),
  /** What the handler last reported, any JSON value. */
  progress: z.unknown(),
  /** What the handler returned, any JSON value; on `succeeded` alone. */
  result: z.unknown(),
  error: WireError.nullable(),
  migrations: z.array(Migration),
  /** Every failed try, oldest first. */
  tries: z.array(FailedTry),
  /** While `retrying`: when the next try is due. */
  dueAt: Time.nullable(),
  /** The W3C `traceparent` of the submit. */
  trace: z.string().nullable(),
});
export type TaskRecord = z.infer<typeof TaskRecord>;

const Succeeded = z.object({
  attempt: z.int().positive(),
  epoch: Count,
  ok: z.literal(true),
  /** Absent: `null`. */
  result: z.unknown().optional(),
  agent: AgentName.optional(),
});
const Failed = z.object({
  attempt: z.int().positive(),
  epoch: Count,
  ok: z.literal(false),
  error: WireError,
  agent: AgentName.optional(),
});

/** Body of `mesh.tasks.outcome.<node>.<task>`. */
export const Outcome = z.discriminatedUnion("ok", [Succeeded, Failed]);
export type Outcome = z.infer<typeof Outcome>;

/** An outcome that names its task, as one of several in a message. */
export const NamedOutcome = z.discriminatedUnion("ok", [
  Succeeded.extend({ taskId: TaskId }),
  Failed.extend({ taskId: TaskId }),
]);
export type NamedOutcome = z.infer<typeof NamedOutcome>;

/**
 * Answer to an outcome. `recorded`: the record holds it, now or already. `stale`: another try, node
 * or a final state stands; drop it. Anything else (a {@link Refusal}) is worth sending again.
 */
export const OutcomeAnswer = z.object({ answer: z.enum(["recorded", "stale"]) });
export type OutcomeAnswer = z.infer<typeof OutcomeAnswer>;

/** What a node answers to a dispatch. A refusal is a {@link Refusal} with `busy`, `stale`, … */
export const DispatchAnswer = z.object({ answer: z.enum(["running", "finished"]) });
export type DispatchAnswer = z.infer<typeof DispatchAnswer>;

/** Body of `mesh.tasks.progress.<node>.<task>`. */
export const Progress = z.object({ attempt: z.int().positive(), progress: z.unknown().optional() });
export type Progress = z.infer<typeof Progress>;

/** Body of `mesh.node.<node>.cancel`. Strict, as the drain order is. */
export const CancelOrder = z.strictObject({
  taskId: TaskId,
  attempt: z.int().positive(),
  epoch: Count,
  /** How long the handler may take to end after its signal aborted. */
  graceMs: Count,
});
export type CancelOrder = z.infer<typeof CancelOrder>;

/** Body of `mesh.tasks.list`, all optional. */
export const ListTasks = z.object({
  status: TaskStatus.optional(),
  capability: Capability.optional(),
  node: NodeId.optional(),
  /** Most records returned, newest change first. */
  limit: z.int().min(1).max(1_000).default(100),
});
export type ListTasks = z.infer<typeof ListTasks>;

/** Answer to `mesh.tasks.list`. `complete` is false when older records were not looked at. */
export const TaskList = z.object({ tasks: z.array(TaskRecord), complete: z.boolean() });
export type TaskList = z.infer<typeof TaskList>;

/** Body of `mesh.coordinator.held.<node>`: what that life of the node has. */
export const HeldRequest = z.object({ incarnation: Count });
export type HeldRequest = z.infer<typeof HeldRequest>;

/** Answer: each task the node had, with the try it was on. */
export const Held = z.object({
  tasks: z.array(z.object({ id: TaskId, attempt: z.int().positive() })),
});
export type Held = z.infer<typeof Held>;

/** Body of `mesh.coordinator.move.<task>`: place try `attempt` again, away from `from`. */
export const MoveRequest = z.object({
  from: NodeId,
  attempt: z.int().positive(),
  reason: MoveReason,
});
export type MoveRequest = z.infer<typeof MoveRequest>;

/** `moved`: try `attempt + 1` is placed or waits for a node. `stale`: someone else was first. */
export const MoveAnswer = z.object({ answer: z.enum(["moved", "stale"]) });
export type MoveAnswer = z.infer<typeof MoveAnswer>;
