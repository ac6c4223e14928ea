/** What `swarmctl why` knows when it answers, and the shape of its answers. Data alone. */
import {
  type CapabilitySetting,
  isGone,
  type LeaderLease,
  type MoveReason,
  type NodeLease,
  type NodeRecord,
  type NodeSetting,
  type TaskRecord,
} from "@swarm-mesh/protocol";

/** What may be asked about. */
export const KINDS = ["task", "node", "capability"] as const;
export type Kind = (typeof KINDS)[number];

/**
 * Why a thing is as it is, for programs; the sentence is for people. Causes are added, never
 * renamed.
 */
export const CAUSES = [
  // The mesh
  "store_unavailable",
  "no_leader",
  "brake",
  "no_monitor",
  // A task that ended, or that nobody knows
  "succeeded",
  "failed",
  "cancelled",
  "rejected",
  "expired",
  "never_submitted",
  "not_found_in_queue",
  // A task on its way
  "running",
  "moved",
  "draining",
  "node_gone",
  "node_silent",
  "backoff",
  "refused",
  "placing",
  // What keeps a capability from being served
  "paused",
  "cordoned",
  "nobody_offers",
  "labels_nowhere",
  "degraded",
  "joining",
  "none_ready",
  "slots_busy",
  "free",
  // A node
  "active",
  "no_lease",
  "shunned",
  "node_failed",
  "left",
  "never_joined",
  "forgotten",
] as const;
export type Cause = (typeof CAUSES)[number];

/** The answer to one question. */
export interface Answer {
  readonly cause: Cause;
  /** One sentence, with its full stop. */
  readonly sentence: string;
  /** What it was concluded from, the most telling first. */
  readonly evidence: readonly string[];
}

/** Who holds the coordinators' lease. */
export interface LeaderFact {
  readonly lease: LeaderLease;
  /** Did it answer just now? `undefined`: this key may not ask. */
  readonly answers: boolean | undefined;
}

/** A node as it is now. */
export interface NodeFact {
  readonly record: NodeRecord;
  /** The lease of this life; `undefined`: there is none. */
  readonly lease: NodeLease | undefined;
  /** Did this life answer a ping just now? `undefined`: not asked. */
  readonly answers: boolean | undefined;
  /** Who had it given nothing new, and why; `undefined`: it is not cordoned. */
  readonly cordon: NodeSetting | undefined;
}

/** A node that would not have a task, or was not there for it, as the task's record says. */
export interface Refusal {
  readonly node: string;
  readonly task: string;
  readonly atMs: number;
  readonly reason: MoveReason;
}

/**
 * Settings of the services that an answer leans on: the defaults, for nobody tells what is set. A
 * lease's length is that of this mesh.
 */
export interface Limits {
  /** The monitor's brake acts from so many nodes on … */
  readonly massLossMin: number;
  /** … and over this share of them; a failed node counts for so many ms. */
  readonly massLossShare: number;
  readonly massLossWindowMs: number;
  /** How long a node that did not take a task is given nothing, ms. */
  readonly shunMs: number;
  /** TTL of a node's lease, ms. */
  readonly leaseTtlMs: number;
}

/** The mesh as it was a moment ago. */
export interface MeshFacts {
  /** Wall clock, ms since the epoch. */
  readonly nowMs: number;
  /** `undefined`: nobody holds the lease. */
  readonly leader: LeaderFact | undefined;
  /** Services of which some process answered discovery. */
  readonly services: ReadonlySet<string>;
  readonly nodes: readonly NodeFact[];
  /** Capabilities that are held back, and who said so. */
  readonly paused: ReadonlyMap<string, CapabilitySetting>;
  /** Records of what runs; `undefined`: no coordinator could tell, or there are too many. */
  readonly running: readonly TaskRecord[] | undefined;
  /** Of the last seconds, newest first. */
  readonly refusals: readonly Refusal[];
  readonly limits: Limits;
}

/** What is stored of one lane of a capability, running tasks included. */
export interface LaneFact {
  /** A lane, or `retry`: tries that are due. */
  readonly lane: string;
  readonly stored: number;
  /** Of these, those that do not run; `undefined`: not known. */
  readonly waiting: number | undefined;
  /** When the first of them was stored, ms since the epoch; `undefined`: none, or not to be read. */
  readonly oldestAtMs: number | undefined;
}

/** A task's message in one of the streams. */
export interface QueuedFact {
  readonly stream: string;
  readonly seq: number;
  readonly capability: string;
  readonly lane: string;
  readonly storedAtMs: number;
  /** The labels it requires, as its header has them. */
  readonly requires: Readonly<Record<string, string>> | undefined;
}

/** How the search for a task's message went. */
export interface SearchFact {
  /** Was every message looked at? */
  readonly complete: boolean;
  readonly lookedAt: number;
  /** May this key read the queue at all? */
  readonly permitted: boolean;
}

/** A dead letter that is still stored. */
export interface LetterFact {
  readonly seq: number;
  readonly atMs: number;
}

/** What an answer about a task is made from. */
export interface TaskFacts {
  readonly id: string;
  readonly mesh: MeshFacts;
  readonly record: TaskRecord | undefined;
  readonly letter: LetterFact | undefined;
  readonly queued: QueuedFact | undefined;
  readonly search: SearchFact;
  /** Of its capability; empty when that is not known. */
  readonly lanes: readonly LaneFact[];
}

/** The last event that is stored of a node. */
export interface EventFact {
  readonly kind: string;
  readonly reason: string;
  readonly atMs: number;
  readonly by: string;
}

/** What an answer about a node is made from. */
export interface NodeFacts {
  readonly id: string;
  readonly mesh: MeshFacts;
  readonly event: EventFact | undefined;
}

/** What an answer about a capability is made from. */
export interface CapabilityFacts {
  readonly capability: string;
  readonly mesh: MeshFacts;
  readonly lanes: readonly LaneFact[];
}

/** Does a coordinator lead, as far as one can see? */
export function leads(mesh: MeshFacts): boolean {
  return mesh.leader !== undefined && mesh.leader.answers !== false;
}

/** Nodes whose records say that they live, and that did not answer just now. */
export function silentNodes({ nodes }: MeshFacts): readonly NodeFact[] {
  return nodes.filter(({ record, answers }) => isLiving(record) && answers === false);
}

/** Is a life under way that the health-monitor judges? */
export function isLiving({ state }: NodeRecord): boolean {
  return !isGone(state) && state !== "JOINING" && state !== "DISCOVERING";
}

/** Is the node given tasks, but for free slots? */
export function isReady({ record, lease, answers, cordon }: NodeFact): boolean {
  const well = record.state === "ACTIVE" && lease !== undefined && answers !== false;
  return well && cordon === undefined;
}
