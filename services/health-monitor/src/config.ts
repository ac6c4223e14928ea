import { ProcessConfig } from "@swarm-mesh/process";
import { nodeLeaseTtlMs } from "@swarm-mesh/protocol";
import { z } from "zod";

const Milliseconds = z.coerce.number().int();
const Count = z.coerce.number().int();

/** What the health-monitor is told. */
export const Config = ProcessConfig.extend({
  /**
   * How long nobody may listen for a node's pings before it is FAILED. Default 200 ms: a
   * reconnecting client is back within 100 to 200 ms; each ms more delays every migration.
   */
  graceMs: Milliseconds.min(0).max(60_000).default(200),
  /** How long a node may take to answer a ping. Default 500 ms: 0.3 ms is usual, 100 ms is loaded. */
  pingTimeoutMs: Milliseconds.min(10).max(10_000).default(500),
  /**
   * A node whose last renewal is older is DEGRADED: it gets no new tasks. Default two thirds of a
   * lease's TTL, 4 s on one server and 8 s on a cluster: one renewal is late by a whole period. Less
   * than the TTL, or it never happens.
   */
  degradedAfterMs: Milliseconds.min(100).max(3_600_000).optional(),
  /** A node whose event loop runs its timers this late is DEGRADED. Default 2 s: a renewal period. */
  lagDegradedMs: Milliseconds.min(10).max(3_600_000).default(2_000),
  /**
   * The brake: while more than this share of the living nodes is suspect or was just failed, nobody
   * is failed before its lease is gone. Default half: more at once is rather our trouble than theirs.
   */
  massLossShare: z.coerce.number().gt(0).max(1).default(0.5),
  /** The brake does not act below this many nodes. Default 3: of two nodes, one is half. */
  massLossMin: Count.min(1).max(10_000).default(3),
  /** For how long a failed node that has not come back counts for the brake. Default 5 s. */
  massLossWindowMs: Milliseconds.min(0).max(600_000).default(5_000),
  /**
   * After this monitor's own link came up, a node that was not heard renewing since then is not
   * failed for this long. Default the lease's TTL, 6 s on one server and 12 s on a cluster: who lives
   * renews in it, or joins anew.
   */
  abstainMs: Milliseconds.min(0).max(3_600_000).optional(),
  /** How often a suspect is asked again; an unanswered ping is evidence as long. Default 1 s. */
  recheckMs: Milliseconds.min(10).max(60_000).default(1_000),
  /** Pings on their way at once; the others wait for an answer. Default 256. */
  pingsMax: Count.min(1).max(10_000).default(256),
  /** Record writes on their way at once; the others wait for the next sweep. Default 256. */
  writesMax: Count.min(1).max(10_000).default(256),
  /** The longest time between two sweeps, which make a missed event harmless. Default 250 ms. */
  sweepIntervalMs: Milliseconds.min(10).max(60_000).default(250),
});
export type Config = z.infer<typeof Config>;

/** The configuration with everything decided. */
export interface Settings extends Omit<Config, "degradedAfterMs" | "abstainMs"> {
  readonly degradedAfterMs: number;
  readonly abstainMs: number;
}

/** Decides what was left open by how often everything is stored. */
export function settle(config: Config, replicas: number): Settings {
  const leaseTtlMs = nodeLeaseTtlMs(replicas);
  return {
    ...config,
    degradedAfterMs: config.degradedAfterMs ?? (leaseTtlMs * 2) / 3,
    abstainMs: config.abstainMs ?? leaseTtlMs,
  };
}
