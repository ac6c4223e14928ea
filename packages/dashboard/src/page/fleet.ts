/**
 * Nodes and leaders as the page shows them. Pure: records, leases and times in, views out.
 *
 * A record says what the services have concluded; a lease says that the node was there a moment ago.
 * Where no lease is left, a record that says ACTIVE is not believed, whatever else was missed.
 */
import {
  isGone,
  type LeaderLease,
  NODE_LEASE_TTL_MS,
  type NodeLease,
  type NodeRecord,
  parseDuration,
} from "@swarm-mesh/protocol";

/** A lease as it was heard. Times are the browser's own monotonic ones. */
export interface Heard<T> {
  readonly lease: T;
  readonly revision: number;
  readonly ttlMs: number;
  /** From then on the server itself would have dropped it. */
  readonly endsAt: number;
}

/** What the page calls a node: its record's state, or `SILENT` when no lease bears it out. */
type Shown = NodeRecord["state"] | "SILENT";

export interface NodeView {
  readonly record: NodeRecord;
  readonly shown: Shown;
  /** Does it live, by its record and its lease? */
  readonly alive: boolean;
  readonly lease: NodeLease | undefined;
  /** Until the lease ends, ms; 0: it has none. */
  readonly leaseLeftMs: number;
  /** Share of its slots in use, 0 to 1. */
  readonly load: number;
}

/** How a node is shown at `now`. */
export function viewOf(
  record: NodeRecord,
  heard: Heard<NodeLease> | undefined,
  now: number,
): NodeView {
  const valid =
    heard !== undefined && heard.lease.incarnation === record.incarnation && heard.endsAt > now;
  const lease = valid ? heard.lease : undefined;
  const living = !isGone(record.state) && record.state !== "JOINING";
  const shown = living && !valid ? "SILENT" : record.state;
  const slots = Math.max(1, record.slots);
  return {
    record,
    shown,
    alive: living && valid,
    lease,
    leaseLeftMs: valid ? heard.endsAt - now : 0,
    load: lease === undefined ? 0 : Math.min(1, lease.running / slots),
  };
}

/** All nodes, in the order they are given. */
export function viewsOf(
  records: readonly NodeRecord[],
  leases: ReadonlyMap<string, Heard<NodeLease>>,
  now: number,
): readonly NodeView[] {
  return records.map((record) => viewOf(record, leases.get(record.id), now));
}

/** Ids as people order them: n2 before n10. */
export function inOrder(ids: Iterable<string>): readonly string[] {
  return [...ids].sort(ORDER.compare);
}

const ORDER = new Intl.Collator("en", { numeric: true });

/** The whole fleet in numbers. */
export interface Totals {
  readonly alive: number;
  /** Nodes that have not left. */
  readonly expected: number;
  readonly failed: number;
  readonly silent: number;
  readonly used: number;
  readonly slots: number;
}

export function totalsOf(views: readonly NodeView[]): Totals {
  const totals = { alive: 0, expected: 0, failed: 0, silent: 0, used: 0, slots: 0 };
  for (const { record, shown, alive, lease } of views) {
    if (record.state !== "LEFT") totals.expected++;
    if (shown === "FAILED") totals.failed++;
    if (shown === "SILENT") totals.silent++;
    if (!alive) continue;
    totals.alive++;
    totals.slots += record.slots;
    totals.used += lease?.running ?? 0;
  }
  return totals;
}

/** Who leads, if the lease still holds. */
export function leaderAt(
  heard: Heard<LeaderLease> | undefined,
  now: number,
): LeaderLease | undefined {
  return heard !== undefined && heard.endsAt > now ? heard.lease : undefined;
}

/** When a lease ends by our own clock. Its TTL is in the write's header. */
export function endOfLease(write: { readonly now: number; readonly ttlHeader: string }): {
  readonly ttlMs: number;
  readonly endsAt: number;
} {
  const ttlMs = parseDuration(write.ttlHeader) ?? NODE_LEASE_TTL_MS;
  return { ttlMs, endsAt: write.now + ttlMs };
}

/** The TTL of the nodes' leases: the longest there is; without any, that on one server. */
export function leaseTtlOf(leases: Iterable<{ readonly ttlMs: number }>): number {
  let longestMs = 0;
  for (const { ttlMs } of leases) longestMs = Math.max(longestMs, ttlMs);
  return longestMs || NODE_LEASE_TTL_MS;
}
