/** Every lease there is: who leads, and how busy each node says it is. */
import {
  check,
  LEASES_BUCKET,
  LeaderLease,
  leaderLeaseKey,
  NodeLease,
  nodeLeaseKey,
  type ServiceName,
} from "@swarm-mesh/protocol";
import { readEntries, readEntry } from "./entries.ts";
import type { Session } from "./session.ts";

/** All leases: of nodes by their id, of leaders by their service. */
export interface Leases {
  readonly nodes: ReadonlyMap<string, NodeLease>;
  readonly leaders: ReadonlyMap<string, LeaderLease>;
}

/** Reads all leases as they are now. Needs a key that may read the bucket: admin or viewer. */
export async function readLeases(session: Session): Promise<Leases> {
  const leases = leasesOf(await readEntries(session, LEASES_BUCKET));
  if (leases.leaders.has(LEADING)) return leases;
  // It may have been renewed that very moment, and missed: who leads is worth a second look.
  const key = leaderLeaseKey(LEADING);
  const again = leasesOf([[key, await readEntry(session, LEASES_BUCKET, key)]]);
  return { ...leases, leaders: new Map([...leases.leaders, ...again.leaders]) };
}

/** One node's lease, whatever else is written meanwhile; `undefined`: it has none. */
export async function readNodeLease(
  session: Session,
  nodeId: string,
): Promise<NodeLease | undefined> {
  const key = nodeLeaseKey(nodeId);
  return leasesOf([[key, await readEntry(session, LEASES_BUCKET, key)]]).nodes.get(nodeId);
}

/** The service that has a leader. */
const LEADING: ServiceName = "coordinator";

/** Sorts a bucket's entries by whose lease each is; what cannot be read is left out. */
function leasesOf(entries: Iterable<readonly [string, unknown]>): Leases {
  const nodes = new Map<string, NodeLease>();
  const leaders = new Map<string, LeaderLease>();
  for (const [key, value] of entries) {
    if (key.startsWith("node.")) {
      const lease = check(NodeLease, value);
      if (lease.ok) nodes.set(key.slice("node.".length), lease.value);
    } else if (key.startsWith("leader.")) {
      const lease = check(LeaderLease, value);
      if (lease.ok) leaders.set(key.slice("leader.".length), lease.value);
    }
  }
  return { nodes, leaders };
}
