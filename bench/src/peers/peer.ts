/** What every system that is compared must be able to do. */
import type { ProcessRef } from "../cpu.ts";
import type { LoadOrder, LoadResult } from "../workers/load.ts";

export type PeerName = "mesh" | "bullmq" | "raw";

/** When a write is on the disk. */
type Durability =
  /** Within a second: the shipped setting of the mesh, and of Redis with an append-only file. */
  | "second"
  /** Before it is acknowledged. */
  | "always";

export interface PeerOptions {
  readonly durability: Durability;
  readonly signal: AbortSignal;
}

export interface Peer {
  readonly name: PeerName;
  /** Every process that works on a task, in the order of a task's way. */
  readonly processes: readonly ProcessRef[];
  /** Makes it so many nodes with so many slots each; what ran before is stopped. */
  setNodes(count: number, slots: number): Promise<void>;
  /** Has the client offer the load. Rejects when a task fails. */
  run(order: LoadOrder): Promise<LoadResult>;
  /** Tasks that are stored as ended well, of those of the last {@link run}. */
  countDone(): Promise<number>;
  stop(): Promise<void>;
}
