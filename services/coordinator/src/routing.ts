/**
 * Who runs a task: filters say who can, scores say who should.
 *
 * A strategy is a set of weights; the lowest score wins. Nothing here reads a clock or draws a
 * number: the same candidates give the same choice.
 */
import type { Labels, Strategy } from "@swarm-mesh/protocol";

/** What routing knows of a node that is active and offers the capability. */
export interface Candidate {
  readonly id: string;
  readonly host: string;
  readonly labels: Labels;
  /** Slots in use and slots in all, as this leader counts them. */
  used: number;
  readonly slots: number;
  /** Of the last lease. */
  rttMs: number;
  readonly costPerHour: number;
  /** Serial number of the last task it was given: the lowest has waited longest. */
  lastGiven: number;
}

/** What a task asks of its node. */
export interface Wish {
  readonly strategy: Strategy;
  readonly requires: Labels | undefined;
  readonly prefer: string | undefined;
  readonly payloadBytes: number;
  /** The coordinator's own host: what `local_first` calls local when no node is preferred. */
  readonly localHost: string;
}

/** How much each property counts, in units of a fully loaded node. */
interface Weights {
  /** Share of slots in use, 0 to 1. */
  readonly load: number;
  /** Round trip, per 10 ms. */
  readonly latency: number;
  /** Round trip times payload, per 10 ms and 64 KB. */
  readonly bandwidth: number;
  /** Not on the wanted host. */
  readonly distance: number;
  /** Cost an hour, per unit. */
  readonly cost: number;
  /** Label `priority`, per step, the higher the better. */
  readonly priority: number;
}

const NONE: Weights = { load: 0, latency: 0, bandwidth: 0, distance: 0, cost: 0, priority: 0 };

/** `round_robin` has no weights: whoever was given a task longest ago is next. */
const WEIGHTS: Readonly<Record<Exclude<Strategy, "round_robin">, Weights>> = {
  least_loaded: { ...NONE, load: 1 },
  local_first: { ...NONE, distance: 10, load: 1 },
  priority: { ...NONE, priority: 10, cost: 1, load: 0.1 },
  latency_aware: { ...NONE, latency: 1, load: 0.5 },
  bandwidth_aware: { ...NONE, bandwidth: 1, latency: 0.1, load: 0.5 },
};

const LATENCY_UNIT_MS = 10;
const BANDWIDTH_UNIT_BYTES = 64 * 1024;

/** Has the node every label the task requires? */
function satisfies(labels: Labels, requires: Labels | undefined): boolean {
  if (requires === undefined) return true;
  for (const name in requires) if (labels[name] !== requires[name]) return false;
  return true;
}

/** What speaks against giving the task to this node. */
function scoreOf(candidate: Candidate, wish: Wish): number {
  if (wish.strategy === "round_robin") return candidate.lastGiven;
  const weights = WEIGHTS[wish.strategy];
  const rtt = candidate.rttMs / LATENCY_UNIT_MS;
  const near = wish.prefer === undefined && candidate.host === wish.localHost;
  return (
    weights.load * (candidate.used / candidate.slots) +
    weights.latency * rtt +
    weights.bandwidth * rtt * (wish.payloadBytes / BANDWIDTH_UNIT_BYTES) +
    weights.distance * (near ? 0 : 1) +
    weights.cost * candidate.costPerHour -
    weights.priority * (Number(candidate.labels["priority"] ?? 0) || 0)
  );
}

/** Candidates looked at for one task, so that a thousand nodes cost no more than these. */
const LOOKED_AT_MAX = 64;

/**
 * The best of the candidates that are free and have the labels; `undefined` when none is.
 *
 * With more than {@link LOOKED_AT_MAX} free ones, that many are compared, from `turn` on: a caller
 * that turns the start with every task spreads the work as evenly as a full comparison would.
 */
export function choose(
  candidates: readonly Candidate[],
  wish: Wish,
  turn: number,
): Candidate | undefined {
  if (wish.prefer !== undefined) {
    const preferred = candidates.find((candidate) => candidate.id === wish.prefer);
    if (preferred !== undefined && isAble(preferred, wish)) return preferred;
  }
  let best: Candidate | undefined;
  let bestScore = Number.POSITIVE_INFINITY;
  let looked = 0;
  const count = candidates.length;
  for (let step = 0; step < count && looked < LOOKED_AT_MAX; step++) {
    const candidate = candidates[(turn + step) % count];
    if (candidate === undefined || !isAble(candidate, wish)) continue;
    looked++;
    const score = scoreOf(candidate, wish);
    // Ties go to whoever was given a task longest ago.
    if (
      score < bestScore ||
      (score === bestScore && best !== undefined && candidate.lastGiven < best.lastGiven)
    ) {
      best = candidate;
      bestScore = score;
    }
  }
  return best;
}

function isAble(candidate: Candidate, wish: Wish): boolean {
  return candidate.used < candidate.slots && satisfies(candidate.labels, wish.requires);
}
