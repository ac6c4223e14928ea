/**
 * Every stream and bucket, once: its name, subjects, lifetime, limits and who writes it.
 *
 * Only what is written here is set; `ensureStores` in the bus package turns it into the server's
 * configuration, creates what is missing and refuses what differs.
 */
import { CHECKPOINT_MAX_BYTES, NODES_MAX, RESULT_MAX_BYTES, SUBMIT_MAX_BYTES } from "./limits.ts";
import {
  AUDIT_ALL,
  DEAD_ALL,
  DELAYED_ALL,
  EVENTS_ALL,
  nodeStateSubject,
  RETRY_ALL,
  SUBMIT_ALL,
  taskStateSubject,
} from "./subjects.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const GIB = 1024 * 1024 * 1024;

/** A stream of the mesh. */
export interface StreamSpec {
  readonly name: string;
  readonly subjects: readonly string[];
  readonly retention: "workqueue" | "limits";
  /** What the server does at `maxBytes`: refuse the new message, or drop the oldest. */
  readonly discard: "new" | "old";
  /** 0: for ever. */
  readonly maxAgeMs: number;
  /** -1: the account's limit alone. */
  readonly maxBytes: number;
  readonly maxMsgBytes: number;
  /** Within it a second publish with the same `Nats-Msg-Id` is answered as a duplicate. */
  readonly duplicateWindowMs: number;
  /** Delivers messages later (`mesh.tasks.delayed.>`). */
  readonly schedules: boolean;
  /** Can nobody delete from it, message by message or all? */
  readonly sealed?: true;
  readonly description: string;
}

/** A KV bucket of the mesh. */
export interface BucketSpec {
  readonly name: string;
  readonly history: number;
  /** 0: for ever. */
  readonly maxAgeMs: number;
  /** How long the marker of an expired key stays, so that every watcher sees the expiry. */
  readonly markerTtlMs: number;
  readonly maxBytes: number;
  readonly maxValueBytes: number;
  /** Where the server republishes each accepted change of `<key>`: `<prefix><key>`. */
  readonly republish?: { readonly source: string; readonly destination: string };
  readonly description: string;
}

/** Tasks waiting, and tasks running (unacknowledged); gone when finished. Written by anyone who submits. */
export const MESH_TASKS: StreamSpec = {
  name: "MESH_TASKS",
  // Submits alone: a stream that schedules messages also obeys `Nats-Rollup`, and so would let any
  // submitter erase the tasks of all others.
  subjects: [SUBMIT_ALL],
  retention: "workqueue",
  discard: "new",
  maxAgeMs: 0,
  maxBytes: 8 * GIB,
  maxMsgBytes: SUBMIT_MAX_BYTES,
  duplicateWindowMs: 2 * MINUTE_MS,
  schedules: false,
  description: "Tasks waiting and running; gone when finished",
};

/** Tasks that run again: waiting for their time, then for a node. Written by the coordinator alone. */
export const MESH_RETRIES: StreamSpec = {
  name: "MESH_RETRIES",
  subjects: [RETRY_ALL, DELAYED_ALL],
  retention: "workqueue",
  // The server allows no scheduled messages together with discard `new`. So that it never drops a
  // task, the stream has no limit of its own: the account's `max_file` refuses instead.
  discard: "old",
  maxAgeMs: 0,
  maxBytes: -1,
  maxMsgBytes: SUBMIT_MAX_BYTES,
  duplicateWindowMs: 2 * MINUTE_MS,
  schedules: true,
  description: "Tasks that run again, when they are due",
};

/** Node and leader transitions. Written by registry, health-monitor and coordinator. */
export const MESH_EVENTS: StreamSpec = {
  name: "MESH_EVENTS",
  subjects: [EVENTS_ALL],
  retention: "limits",
  discard: "old",
  maxAgeMs: 7 * DAY_MS,
  maxBytes: GIB,
  maxMsgBytes: 64 * 1024,
  duplicateWindowMs: 2 * MINUTE_MS,
  schedules: false,
  description: "Node and leader transitions",
};

/** Tasks given up, with headers, body, every try and its error. Written by the coordinator. */
export const MESH_DEAD: StreamSpec = {
  name: "MESH_DEAD",
  subjects: [DEAD_ALL],
  retention: "limits",
  discard: "old",
  maxAgeMs: 30 * DAY_MS,
  maxBytes: 2 * GIB,
  maxMsgBytes: SUBMIT_MAX_BYTES + 512 * 1024,
  duplicateWindowMs: 2 * MINUTE_MS,
  schedules: false,
  description: "Tasks given up",
};

/** Who did what, as a chain of hashes. Written by the coordinator, and for people by their commands. */
export const MESH_AUDIT: StreamSpec = {
  name: "MESH_AUDIT",
  subjects: [AUDIT_ALL],
  retention: "limits",
  // Refusing would let whoever fills it act unseen; what goes at the other end leaves a gap that shows.
  discard: "old",
  maxAgeMs: 0,
  maxBytes: 4 * GIB,
  maxMsgBytes: 64 * 1024,
  duplicateWindowMs: 2 * MINUTE_MS,
  schedules: false,
  sealed: true,
  description: "Who did what; nothing is ever deleted",
};

/** Node records, one key a node. Written by registry and health-monitor, by compare-and-swap. */
export const NODES_BUCKET: BucketSpec = {
  name: "mesh_nodes",
  history: 16,
  maxAgeMs: 0,
  markerTtlMs: MINUTE_MS,
  maxBytes: GIB,
  maxValueBytes: 256 * 1024,
  republish: { source: "$KV.mesh_nodes.>", destination: nodeStateSubject(">") },
  description: `Node records, at most ${NODES_MAX}`,
};

/** Leases of nodes and leaders. Each key is written by its holder alone, with a TTL. */
export const LEASES_BUCKET: BucketSpec = {
  name: "mesh_leases",
  history: 1,
  maxAgeMs: 0,
  markerTtlMs: MINUTE_MS,
  maxBytes: 256 * 1024 * 1024,
  maxValueBytes: 16 * 1024,
  description: "Leases of nodes and leaders",
};

/** Task records. Written by the leading coordinator alone. Kept for a day after the last change. */
export const TASKS_BUCKET: BucketSpec = {
  name: "mesh_tasks",
  history: 10,
  maxAgeMs: DAY_MS,
  markerTtlMs: MINUTE_MS,
  maxBytes: 8 * GIB,
  maxValueBytes: RESULT_MAX_BYTES + 256 * 1024,
  republish: { source: "$KV.mesh_tasks.>", destination: taskStateSubject(">") },
  description: "Task records",
};

/** What running tasks saved. Key `<node>.<task>`, written by that node alone. */
export const CHECKPOINTS_BUCKET: BucketSpec = {
  name: "mesh_checkpoints",
  history: 1,
  maxAgeMs: DAY_MS,
  markerTtlMs: MINUTE_MS,
  maxBytes: 8 * GIB,
  maxValueBytes: CHECKPOINT_MAX_BYTES + 1024,
  description: "Saved state of running tasks",
};

/** What operators have set: paused capabilities, cordoned nodes. Written by admins alone. */
export const SETTINGS_BUCKET: BucketSpec = {
  name: "mesh_settings",
  history: 16,
  maxAgeMs: 0,
  markerTtlMs: MINUTE_MS,
  maxBytes: 64 * 1024 * 1024,
  maxValueBytes: 4 * 1024,
  description: "What operators have set",
};

/** Nodes that were enrolled, one key a node. Written by the authenticators, by compare-and-swap. */
export const IDENTITIES_BUCKET: BucketSpec = {
  name: "mesh_identities",
  history: 16,
  maxAgeMs: 0,
  markerTtlMs: MINUTE_MS,
  maxBytes: 256 * 1024 * 1024,
  maxValueBytes: 16 * 1024,
  description: `Nodes that were enrolled, at most ${NODES_MAX}`,
};

/** Join tokens, by the SHA-256 of each. Written by the authenticators, with a TTL. */
export const TOKENS_BUCKET: BucketSpec = {
  name: "mesh_tokens",
  history: 1,
  maxAgeMs: 0,
  // The marker of one that expired says so, to whoever comes late, for a week.
  markerTtlMs: 7 * DAY_MS,
  maxBytes: 64 * 1024 * 1024,
  maxValueBytes: 4 * 1024,
  description: "Join tokens, by their hash",
};

export const STREAMS: readonly StreamSpec[] = [
  MESH_TASKS,
  MESH_RETRIES,
  MESH_EVENTS,
  MESH_DEAD,
  MESH_AUDIT,
];
export const BUCKETS: readonly BucketSpec[] = [
  NODES_BUCKET,
  LEASES_BUCKET,
  TASKS_BUCKET,
  CHECKPOINTS_BUCKET,
  SETTINGS_BUCKET,
  IDENTITIES_BUCKET,
  TOKENS_BUCKET,
];
