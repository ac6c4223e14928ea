import { ProcessConfig } from "@swarm-mesh/process";
import { z } from "zod";

/** What a coordinator is told. */
export const Config = ProcessConfig.extend({
  /**
   * TTL of the leader's lease, whole seconds. How long a frozen leader is waited for; a killed one
   * is noticed by its connection. Default 3 s on one server; 12 s on a cluster, whose store may be
   * without a leader for 8 s.
   */
  leaderLeaseTtlMs: z.coerce.number().int().min(1_000).multipleOf(1_000).optional(),
  /**
   * How long a node may take to say that it has a task, before it is asked again. Ten times the
   * slowest answer seen with both cores busy.
   */
  acceptTimeoutMs: z.coerce.number().int().min(100).default(1_000),
  /**
   * How long a task may have no living node before the coordinator moves it by itself. The migrator
   * does so within milliseconds; this is for the night when no migrator runs.
   */
  orphanAfterMs: z.coerce.number().int().min(1_000).default(30_000),
  /** How often what the events should have said is looked for. */
  sweepIntervalMs: z.coerce.number().int().min(50).default(1_000),
  /** How long a cancelled handler may take to end before its node kills it. */
  cancelGraceMs: z.coerce.number().int().min(0).default(2_000),
  /**
   * Tasks kept here that require labels no free node has. Beyond it they go back to the stream for
   * `apartDelayMs`. About 1 KB each.
   */
  apartMax: z.coerce.number().int().min(1).default(10_000),
  /** How long a task beyond `apartMax` waits in the stream before it is looked at again. */
  apartDelayMs: z.coerce.number().int().min(1_000).default(30_000),
  /**
   * Share of the tasks without a `traceparent` for which the coordinator begins a trace, 0 to 1. What
   * is traced is for those who submit to say.
   */
  traceRatio: z.coerce.number().min(0).max(1).default(0),
  /** How long a node that refused a task, or did not answer, is given nothing. */
  shunMs: z.coerce.number().int().min(10).default(500),
});
export type Config = z.infer<typeof Config>;
