/** What all subjects of one run share. */
import type { BenchOptions } from "./options.ts";
import type { PeerName } from "./peers/peer.ts";
import type { Report } from "./report.ts";

export interface Session {
  readonly options: BenchOptions;
  readonly report: Report;
  /** Aborts on Ctrl-C: whatever is under way stops, and lets go of what it started. */
  readonly signal: AbortSignal;
  /** Who can be measured here; without Redis not all. */
  readonly peers: readonly PeerName[];
}
