/**
 * When a replica reaches for the lease, and how it reads the lease that is there.
 *
 *     follower ──lease gone, holder dead, or ours from before──▶ candidate ──granted──▶ leader
 *         ▲                                                        │ conflict            │
 *         └────────────────────────────────────────────────────────┴──lost, link down────┘
 */
import { decode, type Leader, LeaderLease } from "@swarm-mesh/protocol";

/** The lease as it is stored; `undefined` value: expired or given back. */
export interface LeaseEntry {
  readonly revision: number;
  readonly value: Uint8Array | undefined;
}

/** What to do about the lease. */
export type LeaseDecision =
  /** Take it by compare-and-swap on this revision. */
  | { readonly kind: "take"; readonly expected: number }
  /** Someone holds it. */
  | { readonly kind: "follow"; readonly leader: Leader };

/**
 * Decides on the lease as it is stored.
 *
 * @param deadInstance a holder whose connection closed and whom a ping did not find.
 */
export function decideLease(
  entry: LeaseEntry | undefined,
  instance: string,
  deadInstance: string | undefined,
): LeaseDecision {
  if (entry === undefined) return { kind: "take", expected: 0 };
  const take = { kind: "take", expected: entry.revision } as const;
  if (entry.value === undefined) return take;
  const lease = decode(LeaderLease, entry.value);
  // A lease nobody can read is nobody's.
  if (!lease.ok) return take;
  const holder = lease.value.instance;
  // Ours from before a lost link: nobody else has acted on it since, or the revision had changed.
  if (holder === instance || holder === deadInstance) return take;
  return { kind: "follow", leader: leaderOf(lease.value, entry.revision) };
}

/** Who leads by this lease. In the acquiring write the epoch is the write's own revision. */
function leaderOf(lease: LeaderLease, revision: number): Leader {
  return { instance: lease.instance, epoch: lease.epoch === 0 ? revision : lease.epoch };
}
