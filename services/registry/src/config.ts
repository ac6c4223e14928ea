import { ProcessConfig } from "@swarm-mesh/process";
import { z } from "zod";

const Milliseconds = z.coerce.number().int();

/** What the registry is told. */
export const Config = ProcessConfig.extend({
  /**
   * The lease's TTL that every node is told, in whole seconds because the server cuts the rest.
   * Default 6 s on one server: a frozen node is trusted that long, and a node's three renewals in it
   * survive one lost message. 12 s on a cluster, whose store may be without a leader for 8 s.
   */
  leaseTtlMs: Milliseconds.min(1_000).max(3_600_000).multipleOf(1_000).optional(),
  /** How long an old life may take to answer a ping before it counts as frozen. Default 500 ms. */
  pingTimeoutMs: Milliseconds.min(10).max(10_000).default(500),
  /**
   * How long a node may be JOINING without answering pings before another may take its id. Default
   * 5 s: it covers the slowest welcome, and a node whose answer was lost waits no longer than that.
   */
  joinGraceMs: Milliseconds.min(0).max(600_000).default(5_000),
  /** How long a node may be JOINING without a lease before it is FAILED. Default 30 s. */
  readyWithinMs: Milliseconds.min(10).max(3_600_000).default(30_000),
  /** How long a record is kept after its node left or failed. Default 7 days. */
  archiveAfterMs: Milliseconds.min(10).default(7 * 24 * 3_600_000),
  /** The longest time between two sweeps, which make a missed event harmless. Default 1 s. */
  sweepIntervalMs: Milliseconds.min(10).max(60_000).default(1_000),
});
export type Config = z.infer<typeof Config>;
