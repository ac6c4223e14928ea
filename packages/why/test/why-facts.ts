/** Facts to be asked about: a mesh, its nodes and a task. */
import { LeaderLease, type NodeState, type TaskRecord } from "@swarm-mesh/protocol";
import { isoTime } from "@swarm-mesh/runtime";
import type { Answer, MeshFacts, NodeFact, TaskFacts } from "../src/facts.ts";
import { whyNode } from "../src/why-node.ts";
import { whyTask } from "../src/why-task.ts";

/** When every question of a test is asked. */
export const NOW = Date.parse("2026-11-21T12:03:00.000Z");
/** A time so many seconds before. */
export const ago = (seconds: number): string => isoTime(NOW - seconds * 1_000);

/** Of the coordinator that leads. */
export const LEASE = LeaderLease.parse({
  instance: "coordinator-1",
  pid: 7,
  host: "box",
  epoch: 3,
});

interface NodeParts {
  readonly state?: NodeState;
  readonly reason?: string;
  readonly labels?: Record<string, string>;
  readonly capabilities?: readonly string[];
  readonly slots?: number;
  readonly answers?: boolean | undefined;
  readonly leased?: boolean;
  readonly since?: number;
  readonly cordon?: NodeFact["cordon"];
}

/** A node that is well, offers `upper` and has two slots, but for what is said. */
export function node(id: string, parts: NodeParts = {}): NodeFact {
  const { state = "ACTIVE", reason = "ready", labels = {}, slots = 2, since = 60 } = parts;
  const capabilities = [...(parts.capabilities ?? ["upper"])];
  const gone = state === "FAILED" || state === "LEFT";
  return {
    record: {
      ...{ id, incarnation: 5, state, reason, host: "box", port: 0, role: "worker", labels, slots },
      agents: [{ name: "main", capabilities, slots }],
      ...{ capabilities, cpu: 1, memoryBytes: 0, version: "", costPerHour: 0, batches: true },
      joinedAt: ago(300),
      updatedAt: ago(since),
    },
    lease:
      (parts.leased ?? !gone)
        ? { incarnation: 5, running: 0, slots, rttMs: 1, lagMs: 0 }
        : undefined,
    answers: gone ? undefined : "answers" in parts ? parts.answers : true,
    cordon: parts.cordon,
  };
}

/** A mesh of two such nodes that works, but for what is said. */
export function mesh(parts: Partial<MeshFacts> = {}): MeshFacts {
  return {
    nowMs: NOW,
    leader: { lease: LEASE, answers: true },
    services: new Set(["registry", "coordinator", "health-monitor", "migrator"]),
    nodes: [node("n1"), node("n2")],
    paused: new Map(),
    running: [],
    refusals: [],
    limits: {
      ...{ massLossMin: 3, massLossShare: 0.5, massLossWindowMs: 5_000 },
      ...{ shunMs: 1_500, leaseTtlMs: 6_000 },
    },
    ...parts,
  };
}

/** The record of t1, which runs on n1 since 30 s, but for what is said. */
export function record(parts: Partial<TaskRecord> = {}): TaskRecord {
  return {
    ...{ id: "t1", capability: "upper", lane: "normal", status: "running", attempt: 1 },
    ...{ maxAttempts: 3, node: "n1", agent: null, incarnation: 5, epoch: 3 },
    ...{ submittedAt: ago(40), startedAt: ago(30), finishedAt: null, progress: null },
    ...{ result: null, error: null, migrations: [], tries: [], dueAt: null, trace: null },
    ...parts,
  };
}

/** What tries of t1 fail with. */
export const NO_LUCK = { code: "handler_failed", message: "no luck", retryable: true };
/** Its first try. */
export const failedTry = { attempt: 1, node: "n1", at: ago(10), error: NO_LUCK };
/** How it came to n1. */
export const move = { from: "n2", to: "n1", at: ago(31), reason: "node_failed" as const };
/** The message of t1 while it waits. */
const QUEUED = {
  ...{ stream: "MESH_TASKS", seq: 9, capability: "upper", lane: "normal" },
  ...{ storedAtMs: NOW - 40_000, requires: undefined },
};
/** What is stored of its capability. */
export const LANES = [{ lane: "normal", stored: 3, waiting: 1, oldestAtMs: NOW - 40_000 }];
/** A search that looked at everything. */
export const SEARCHED = { complete: true, lookedAt: 12, permitted: true };

/** Of t1, of which nothing is known but what is said. */
export function task(parts: Partial<TaskFacts> = {}): Answer {
  const none = { record: undefined, letter: undefined, queued: undefined };
  return whyTask({ id: "t1", mesh: mesh(), ...none, search: SEARCHED, lanes: [], ...parts });
}

/** A task that waits without a record, in a mesh that is like this. */
export function waits(parts: Partial<MeshFacts>, requires?: Record<string, string>): Answer {
  return task({ mesh: mesh(parts), queued: { ...QUEUED, requires }, lanes: LANES });
}

/** t1 runs on n1, in a mesh that is like this. */
export function runs(parts: Partial<MeshFacts>, more: Partial<TaskRecord> = {}): Answer {
  return task({ mesh: mesh(parts), record: record(more) });
}

/** Of n1, among these nodes. */
export function askNode(nodes: readonly NodeFact[], parts: Partial<MeshFacts> = {}): Answer {
  return whyNode({ id: "n1", mesh: mesh({ nodes, ...parts }), event: undefined });
}
