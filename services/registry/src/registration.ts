/**
 * Registration: who may use a node id, and how a record goes from state to state.
 *
 *     nobody, LEFT, FAILED ──register──▶ JOINING ──lease seen──▶ ACTIVE … LEAVING ──▶ LEFT
 *     a living state ──register, nobody answers──▶ FAILED ──▶ JOINING (the next life)
 *
 * A life is named by the revision of its JOINING write, so a record in state JOINING cannot hold its
 * own life's number: it holds its predecessor's. Compare lives through {@link lifeOf} alone.
 */
import {
  capabilitiesOf,
  type Deregistration,
  type ErrorCode,
  type FindNodes,
  isGone,
  mayBecome,
  NODES_MAX,
  type NodeRecord,
  type NodeState,
  type Registration,
} from "@swarm-mesh/protocol";

/** A key of `mesh_nodes` as it was read. Revision 0: never written. */
export interface Stored {
  readonly revision: number;
  /** `undefined`: no record, its marker, or one that nobody can read. */
  readonly record: NodeRecord | undefined;
}

/** What came of a ping. */
export type Ping =
  | { readonly kind: "answered"; readonly incarnation: number }
  /** No process listens. */
  | { readonly kind: "nobody" }
  /** A process listens, but said nothing, or nothing that can be read. */
  | { readonly kind: "silent" };

/** What else is known when somebody wants an id. */
export interface Evidence {
  /** `undefined`: not asked yet. */
  readonly ping: Ping | undefined;
  /** The incarnation in the node's lease, `undefined` when there is none. */
  readonly leaseOf: number | undefined;
  /** For how long this replica has known the stored revision, on its own clock. */
  readonly ageMs: number;
  /** Nodes whose life has not ended. */
  readonly livingCount: number;
  /** A record in state JOINING is not taken over before this. */
  readonly joinGraceMs: number;
}

/** What to do about a request for an id. */
export type RegistrationDecision =
  /** Ask the living predecessor first, then decide again. */
  | { readonly kind: "ping" }
  | { readonly kind: "refuse"; readonly error: RefusalReason }
  /** The predecessor is gone: write that down, then decide again. */
  | { readonly kind: "end-predecessor"; readonly incarnation: number }
  /** Write JOINING at the stored revision. */
  | { readonly kind: "join" };

/** Why a request is refused, as it is answered. */
export interface RefusalReason {
  readonly code: ErrorCode;
  readonly message: string;
  readonly retryable: boolean;
}

/** Why the registry ends a life that another one follows. */
export const REPLACED = "replaced by a new life";

/** The number of the life that a record is about. */
export function lifeOf(record: NodeRecord, revision: number): number {
  return record.state === "JOINING" ? revision : record.incarnation;
}

/** May the asker have the id? Two that ask at once are parted by the write that follows. */
export function decideRegistration(stored: Stored, evidence: Evidence): RegistrationDecision {
  const { record, revision } = stored;
  if (record === undefined || isGone(record.state)) {
    return evidence.livingCount < NODES_MAX
      ? { kind: "join" }
      : refuse("unavailable", `the mesh has ${NODES_MAX} nodes, which is the most`, true);
  }
  if (evidence.ping === undefined) return { kind: "ping" };
  const life = lifeOf(record, revision);
  const id = record.id;
  if (evidence.ping.kind === "answered" && evidence.ping.incarnation === life) {
    return refuse("id_in_use", `node ${id} lives: incarnation ${life} answers`, false);
  }
  // Who was welcomed a moment ago may not listen yet, or be slow.
  if (record.state === "JOINING" && evidence.ageMs < evidence.joinGraceMs) {
    return refuse("id_in_use", `node ${id} is joining just now`, true);
  }
  if (evidence.ping.kind === "nobody") return { kind: "end-predecessor", incarnation: life };
  // A frozen process, or one of another life: its lease says how long it must be believed in.
  return evidence.leaseOf === life
    ? refuse("id_in_use", `node ${id} does not answer, but its lease still runs`, true)
    : { kind: "end-predecessor", incarnation: life };
}

/** What to do about a request to leave. */
export type DeregistrationDecision =
  | { readonly kind: "refuse"; readonly error: RefusalReason }
  /** Nothing to do, now or any more: the record is the answer. */
  | { readonly kind: "answer"; readonly record: NodeRecord }
  /** Write this state at the stored revision, then decide again. */
  | { readonly kind: "write"; readonly to: "LEAVING" | "LEFT" };

/** What a node's leave-taking does. The same request again is answered with the record. */
export function decideDeregistration(
  stored: Stored,
  request: Deregistration,
): DeregistrationDecision {
  const { record, revision } = stored;
  if (record === undefined) return refuse("not_found", "no such node", false);
  const life = lifeOf(record, revision);
  if (request.incarnation !== life) {
    return refuse(
      "stale",
      `node ${record.id} is at incarnation ${life}, not ${request.incarnation}`,
      false,
    );
  }
  if (record.state === "FAILED") {
    return refuse("stale", `this life was given up: ${record.reason}`, false);
  }
  if (record.state === "LEFT") return { kind: "answer", record };
  if (record.state === "LEAVING") {
    return request.phase === "left" ? { kind: "write", to: "LEFT" } : { kind: "answer", record };
  }
  return mayBecome(record.state, "LEAVING")
    ? { kind: "write", to: "LEAVING" }
    : refuse("bad_request", `a node in state ${record.state} cannot leave`, false);
}

/** One record with what the sweep knows about it. */
export interface Swept {
  readonly record: NodeRecord;
  readonly revision: number;
  /** The incarnation in the node's lease, `undefined` when there is none. */
  readonly leaseOf: number | undefined;
  /** For how long this replica has known the revision, on its own clock. */
  readonly knownForMs: number;
  /** Since the record changed, by the wall clock. */
  readonly ageMs: number;
}

/** What a sweep found due, by the revision it was seen at. */
export type SweepCommand =
  | { readonly kind: "activate"; readonly id: string; readonly revision: number }
  | { readonly kind: "give-up"; readonly id: string; readonly revision: number }
  | { readonly kind: "archive"; readonly id: string; readonly revision: number };

/** How long records may stay as they are, in milliseconds. */
export interface SweepLimits {
  /** A record in state JOINING without its lease is given up after this. */
  readonly readyWithinMs: number;
  /** A record whose life ended is removed after this. */
  readonly archiveAfterMs: number;
  /** Commands in one sweep; the next one does the rest. */
  readonly commandsMax: number;
}

/** Why the registry gives up a node that registered and was never ready. */
export const NEVER_READY = "never became ready";

/** What the records need, whatever events were missed. */
export function planSweep(nodes: Iterable<Swept>, limits: SweepLimits): SweepCommand[] {
  const commands: SweepCommand[] = [];
  for (const { record, revision, leaseOf, knownForMs, ageMs } of nodes) {
    if (commands.length >= limits.commandsMax) break;
    const id = record.id;
    if (record.state === "JOINING") {
      if (leaseOf === revision) commands.push({ kind: "activate", id, revision });
      else if (knownForMs > limits.readyWithinMs) commands.push({ kind: "give-up", id, revision });
    } else if (isGone(record.state) && ageMs > limits.archiveAfterMs) {
      commands.push({ kind: "archive", id, revision });
    }
  }
  return commands;
}

/** The first record of a life. `predecessor`: the incarnation before it, 0 for none. */
export function joiningRecord(
  id: string,
  registration: Registration,
  predecessor: number,
  at: string,
): NodeRecord {
  return {
    id,
    incarnation: predecessor,
    state: "JOINING",
    reason: "registered",
    ...registration,
    capabilities: capabilitiesOf(registration.agents),
    slots: registration.agents.reduce((sum, agent) => sum + agent.slots, 0),
    joinedAt: at,
    updatedAt: at,
  };
}

/** The record in its next state, its life's own number in it. */
export function recordIn(
  stored: { readonly record: NodeRecord; readonly revision: number },
  to: NodeState,
  reason: string,
  at: string,
): NodeRecord {
  const incarnation = lifeOf(stored.record, stored.revision);
  return { ...stored.record, incarnation, state: to, reason, updatedAt: at };
}

/** Is the node active, does it offer the capability, has it every label? */
export function isFound(record: NodeRecord, wanted: FindNodes): boolean {
  if (record.state !== "ACTIVE") return false;
  if (wanted.capability !== undefined && !record.capabilities.includes(wanted.capability)) {
    return false;
  }
  const labels = new Map(Object.entries(record.labels));
  return Object.entries(wanted.labels ?? {}).every(([name, value]) => labels.get(name) === value);
}

function refuse(code: ErrorCode, message: string, retryable: boolean) {
  return { kind: "refuse", error: { code, message, retryable } } as const;
}
