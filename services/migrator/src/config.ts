import { ProcessConfig } from "@swarm-mesh/process";
import { z } from "zod";

const Milliseconds = z.coerce.number().int();
const Count = z.coerce.number().int();

/** What the migrator is told. */
export const Config = ProcessConfig.extend({
  /** Nodes whose tasks are moved at the same time; further events wait in the stream. Default 16. */
  nodesMax: Count.min(1).max(1_000).default(16),
  /** Move requests of one node on their way at once. Default 32: more only wait in the leader. */
  movesMax: Count.min(1).max(1_000).default(32),
  /** How long one request to the leader may take before it is sent again. Default 2 s. */
  requestTimeoutMs: Milliseconds.min(10).max(60_000).default(2_000),
  /**
   * After this the server gives an event to another replica. Default 30 s: it is renewed every third
   * of it while the event is in hand, so only a dead or frozen replica lets it run out.
   */
  ackWaitMs: Milliseconds.min(1_000).max(3_600_000).default(30_000),
  /**
   * How long an event rests that cannot be settled now: the leader refused, or still names tasks
   * that it says are elsewhere. Default 5 s.
   */
  retryAfterMs: Milliseconds.min(10).max(600_000).default(5_000),
});
export type Config = z.infer<typeof Config>;
