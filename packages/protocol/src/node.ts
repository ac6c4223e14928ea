/**
 * Nodes: the record, the lease, and what is said while joining, syncing and leaving.
 *
 *     DISCOVERING ──▶ JOINING ──▶ ACTIVE ⇄ SYNCING
 *                       ▲  │        │ ▲
 *                       │  │        ▼ │
 *                       │  │     DEGRADED ──▶ FAILED ──▶ JOINING (new incarnation)
 *                       │  └──────────────────▲
 *                       └── LEFT ◀── LEAVING ◀── ACTIVE, DEGRADED
 *
 * DISCOVERING exists only inside a node that looks for its servers; it has no record yet.
 */
import { z } from "zod";
import { NODE_CAPABILITIES_MAX, NODE_SLOTS_MAX } from "./limits.ts";
import { AgentName, Capability, Labels, NodeId } from "./names.ts";
import type { NodeEventKind } from "./subjects.ts";

export const NodeState = z.enum([
  "DISCOVERING",
  "JOINING",
  "ACTIVE",
  "SYNCING",
  "DEGRADED",
  "LEAVING",
  "LEFT",
  "FAILED",
]);
export type NodeState = z.infer<typeof NodeState>;

/** The states a record may go to from each state. */
export const NODE_TRANSITIONS: Readonly<Record<NodeState, readonly NodeState[]>> = {
  DISCOVERING: ["JOINING"],
  JOINING: ["ACTIVE", "FAILED", "LEAVING"],
  ACTIVE: ["SYNCING", "DEGRADED", "FAILED", "LEAVING"],
  SYNCING: ["ACTIVE", "DEGRADED", "FAILED", "LEAVING"],
  DEGRADED: ["ACTIVE", "FAILED", "LEAVING"],
  LEAVING: ["LEFT", "FAILED"],
  LEFT: ["JOINING"],
  FAILED: ["JOINING"],
};

/** May a record go from `from` to `to`? */
export function mayBecome(from: NodeState, to: NodeState): boolean {
  return NODE_TRANSITIONS[from].includes(to);
}

/** Has this life of the node ended? */
export function isGone(state: NodeState): boolean {
  return state === "FAILED" || state === "LEFT";
}

export const NodeRole = z.enum(["coordinator", "worker", "hybrid"]);
export type NodeRole = z.infer<typeof NodeRole>;

/** A named executor on a node: what it can do, and how many tasks at once. */
export const Agent = z.object({
  name: AgentName,
  capabilities: z.array(Capability).min(1).max(NODE_CAPABILITIES_MAX),
  slots: z.int().min(1).max(NODE_SLOTS_MAX),
});
export type Agent = z.infer<typeof Agent>;

/** Body of `mesh.registry.register.<node>`. The id is in the subject: only that node may use it. */
export const Registration = z
  .object({
    host: z.string().max(255),
    /** Where the node listens for people, 0 when nowhere. The mesh itself needs no port. */
    port: z.int().min(0).max(65_535).default(0),
    role: NodeRole.default("worker"),
    agents: z.array(Agent).min(1).max(NODE_CAPABILITIES_MAX),
    labels: Labels.default({}),
    /** Cores. */
    cpu: z.number().nonnegative().default(0),
    memoryBytes: z.int().nonnegative().default(0),
    /** The node software's version. */
    version: z.string().max(64).default(""),
    /** What an hour on this node costs, in the operator's unit; the `priority` strategy weighs it. */
    costPerHour: z.number().nonnegative().default(0),
    /** Does it read batches of tasks, and take tasks that want no answer? See batch.ts. */
    batches: z.boolean().default(false),
  })
  .refine((node) => sumOf(node.agents.map((agent) => agent.slots)) <= NODE_SLOTS_MAX, {
    error: `the agents' slots add up to more than ${NODE_SLOTS_MAX}`,
    path: ["agents"],
  })
  .refine((node) => capabilitiesOf(node.agents).length <= NODE_CAPABILITIES_MAX, {
    error: `the agents offer more than ${NODE_CAPABILITIES_MAX} capabilities`,
    path: ["agents"],
  })
  .refine((node) => new Set(node.agents.map((agent) => agent.name)).size === node.agents.length, {
    error: "two agents have the same name",
    path: ["agents"],
  });
export type Registration = z.infer<typeof Registration>;

/** Every capability the agents offer, each once, in order. */
export function capabilitiesOf(agents: readonly Agent[]): string[] {
  return [...new Set(agents.flatMap((agent) => agent.capabilities))];
}

const Time = z.iso.datetime();

/**
 * A node's record, the value of `<node>` in `mesh_nodes`. Unknown fields are kept. The incarnation
 * is the revision of the JOINING write, so a record in state JOINING holds its predecessor's, or 0.
 */
export const NodeRecord = z.looseObject({
  id: NodeId,
  incarnation: z.int().nonnegative(),
  state: NodeState,
  /** Why it is in this state, for people. */
  reason: z.string().max(1_024),
  host: z.string(),
  port: z.int(),
  role: NodeRole,
  agents: z.array(Agent),
  capabilities: z.array(Capability),
  /** The sum of the agents' slots. */
  slots: z.int(),
  labels: Labels,
  cpu: z.number(),
  memoryBytes: z.int(),
  version: z.string(),
  costPerHour: z.number().default(0),
  batches: z.boolean().default(false),
  joinedAt: Time,
  updatedAt: Time,
});
export type NodeRecord = z.infer<typeof NodeRecord>;

/** A node's lease, the value of `node.<node>` in `mesh_leases`: its life and its load. */
export const NodeLease = z.looseObject({
  incarnation: z.int().nonnegative(),
  /** Slots in use now. */
  running: z.int().nonnegative(),
  slots: z.int().nonnegative(),
  /** Round trip to nats-server. */
  rttMs: z.number().nonnegative(),
  /** How late the event loop runs its timers, worst since the last renewal. */
  lagMs: z.number().nonnegative(),
});
export type NodeLease = z.infer<typeof NodeLease>;

/** A leader's lease, the value of `leader.<service>` in `mesh_leases`. */
export const LeaderLease = z.looseObject({
  /** The replica that leads, as in its logs. */
  instance: z.string(),
  pid: z.int(),
  host: z.string(),
  /** Revision of the acquiring write; 0 in that write itself, whose revision it is. */
  epoch: z.int().nonnegative(),
});
export type LeaderLease = z.infer<typeof LeaderLease>;

/** Who leads a service. */
export const Leader = z.object({ instance: z.string(), epoch: z.int() });
export type Leader = z.infer<typeof Leader>;

/** What a node is told to do when it joins. */
export const NodePolicy = z.object({
  leaseTtlMs: z.int().positive(),
});
export type NodePolicy = z.infer<typeof NodePolicy>;

/** Answer to a registration. */
export const Welcome = z.object({
  incarnation: z.int().positive(),
  leader: Leader.nullable(),
  /** Ids of the other nodes that are not gone. */
  peers: z.array(NodeId),
  config: NodePolicy,
});
export type Welcome = z.infer<typeof Welcome>;

/** Body of `mesh.registry.deregister.<node>`. `leaving`: takes nothing new. `left`: has ended. */
export const Deregistration = z.object({
  incarnation: z.int().positive(),
  phase: z.enum(["leaving", "left"]).default("left"),
  reason: z.string().max(1_024).default(""),
});
export type Deregistration = z.infer<typeof Deregistration>;

/** Body of `mesh.registry.find`: nodes that are active, offer the capability and have the labels. */
export const FindNodes = z.object({
  capability: Capability.optional(),
  labels: Labels.optional(),
});
export type FindNodes = z.infer<typeof FindNodes>;

/** Answer to list and find. */
export const NodeList = z.object({ nodes: z.array(NodeRecord) });
export type NodeList = z.infer<typeof NodeList>;

/** Body of `mesh.coordinator.sync.<node>`: the hash of the state the node knows, `""` for none. */
export const SyncRequest = z.object({ hash: z.string().max(64).default("") });
export type SyncRequest = z.infer<typeof SyncRequest>;

/** What every node may know: who leads, who is there. */
export const MeshState = z.object({
  leader: Leader,
  nodes: z.array(
    z.object({
      id: NodeId,
      incarnation: z.int(),
      state: NodeState,
      capabilities: z.array(Capability),
      labels: Labels,
      slots: z.int(),
    }),
  ),
});
export type MeshState = z.infer<typeof MeshState>;

/** Answer to a sync: the state with its hash, or `same` when the node's hash is current. */
export const SyncAnswer = z.union([
  z.object({ same: z.literal(true), hash: z.string() }),
  z.object({ same: z.literal(false), hash: z.string(), state: MeshState }),
]);
export type SyncAnswer = z.infer<typeof SyncAnswer>;

/** Answer to `mesh.node.<node>.ping`. */
export const Pong = z.object({
  incarnation: z.int().nonnegative(),
  running: z.int().nonnegative(),
});
export type Pong = z.infer<typeof Pong>;

/**
 * Body of `mesh.node.<node>.drain`. Strict: a node may name another's subject as its reply, and so
 * have an answer of ours arrive there; no answer looks like this.
 */
export const DrainOrder = z.strictObject({
  /** Running tasks may finish until then; after it they are handed back. */
  deadlineMs: z.int().min(0).max(3_600_000).default(30_000),
  reason: z.string().max(1_024).default("drain"),
});
export type DrainOrder = z.infer<typeof DrainOrder>;

/** A durable event about a node: `mesh.events.node.<node>.<kind>`. */
export const NodeEvent = z.object({
  node: NodeId,
  incarnation: z.int().nonnegative(),
  from: NodeState,
  to: NodeState,
  reason: z.string(),
  at: Time,
  /** The replica that says so. */
  by: z.string(),
});
export type NodeEvent = z.infer<typeof NodeEvent>;

/**
 * `node.<node>.<incarnation>.<kind>`: the message id of what happens once in a node's life. Whoever tells it,
 * the server keeps the first.
 */
export const nodeEventId = (nodeId: string, incarnation: number, kind: NodeEventKind): string =>
  `node.${nodeId}.${incarnation}.${kind}`;

/** A durable event about a leader: `mesh.events.leader.<service>`. */
export const LeaderEvent = z.object({
  service: z.string(),
  instance: z.string(),
  epoch: z.int(),
  kind: z.enum(["elected", "resigned", "lost"]),
  at: Time,
});
export type LeaderEvent = z.infer<typeof LeaderEvent>;

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, value) => sum + value, 0);
}
