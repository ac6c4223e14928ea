/** Every lease there is: who leads, and how busy each node says it is. */
import { BucketView, bucketStream } from "@swarm-mesh/bus";
import { check, decode, LEASES_BUCKET, LeaderLease, NodeLease } from "@swarm-mesh/protocol";
import { latch, silentLog, systemClock } from "@swarm-mesh/runtime";
import { z } from "zod";
import { CliError, Exit } from "./exit.ts";
import type { Session } from "./session.ts";

export interface Leases {
  readonly nodes: ReadonlyMap<string, NodeLease>;
  readonly leaders: ReadonlyMap<string, LeaderLease>;
}

/** Reads all leases as they are now. Needs a key that may read the bucket: admin or viewer. */
export async function readLeases(session: Session): Promise<Leases> {
  const manager = await session.manager();
  // A view tries for ever; one plain look tells at once that there is nothing, or no right, to see.
  await manager.streams.info(bucketStream(LEASES_BUCKET));
  const stop = new AbortController();
  const current = latch<void>();
  const view = new BucketView<unknown>({
    nc: session.nc,
    manager,
    bucket: LEASES_BUCKET,
    clock: systemClock,
    log: silentLog,
    decode: (_key, value) => decode(z.unknown(), value),
    onCurrent: () => current.resolve(),
  });
  const running = view.run(stop.signal);
  const late = systemClock.sleep(session.target.timeoutMs, stop.signal).then(() => "late" as const);
  try {
    if ((await Promise.race([current.promise, running, late])) === "late") {
      throw new CliError(
        Exit.timeout,
        "unavailable",
        `the bucket ${LEASES_BUCKET.name} could not be read in time: is the mesh running, and is this key an admin's or a viewer's?`,
      );
    }
    return leasesOf(view.entries());
  } finally {
    stop.abort();
    await running.catch(() => undefined); // What was read is already returned.
  }
}

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
