/** What `swarmctl top` knows of a mesh at one moment, and how it follows from what was seen. Data alone. */
import {
  type CapabilitySetting,
  isGone,
  type LeaderLease,
  type NodeLease,
  type NodeRecord,
  type NodeState,
  type TaskRecord,
} from "@swarm-mesh/protocol";
import { timeOf } from "@swarm-mesh/runtime";
import type { StoredEvent } from "../events.ts";
import { compareIds } from "../node-records.ts";
import { LANES, type LaneName, type Queue } from "../queues.ts";
import type { Settings } from "../settings.ts";

/** The queues and streams, as they were at a look; the counters only grow. */
export interface Look {
  /** Monotonic, ms. */
  readonly atMs: number;
  readonly queues: ReadonlyMap<string, Queue>;
  /** Tasks of paused capabilities that run: what else the leader has of them waits in its hands. */
  readonly running: ReadonlyMap<string, number>;
  readonly delayed: number;
  /** Submits stored, and messages of tasks that are over, since the stream was made. */
  readonly submitted: number;
  readonly finished: number;
  /** Letters written since the stream was made, and those that are there. */
  readonly died: number;
  readonly dead: number;
}

/** A node's line. */
export interface NodeRow {
  readonly id: string;
  readonly state: NodeState;
  readonly cordoned: boolean;
  readonly used: number | undefined;
  readonly slots: number;
  readonly rttMs: number | undefined;
  readonly lagMs: number | undefined;
  readonly capabilities: readonly string[];
  readonly host: string;
  /** Since when it is in this state, wall clock. */
  readonly sinceMs: number;
  readonly reason: string;
}

/** A capability's line. */
export interface CapabilityRow {
  readonly capability: string;
  readonly nodes: number;
  readonly slots: number;
  /** In the leader's hands: running, or about to. */
  readonly taken: number;
  readonly waiting: number;
  readonly lanes: Readonly<Record<LaneName, number>>;
  /** When the one that waits longest was stored, wall clock; `undefined`: none, or not to be seen. */
  readonly oldestAtMs: number | undefined;
  /** Given to the leader each second; `undefined`: not known yet. */
  readonly perSecond: number | undefined;
  readonly paused: CapabilitySetting | undefined;
}

/** A task as it was last heard of. */
export type TaskRow = Pick<
  TaskRecord,
  | "id"
  | "capability"
  | "lane"
  | "status"
  | "attempt"
  | "node"
  | "submittedAt"
  | "error"
  | "migrations"
>;

/** Tasks a second, over the last seconds. */
export interface Rates {
  readonly submitted: number;
  readonly finished: number;
  readonly died: number;
}

/** Where the picture comes from, and how old it is. */
interface Freshness {
  readonly url: string;
  /** Is there a link to the server, as far as is known? */
  readonly linked: boolean;
  /** For how long there has been none, ms. */
  readonly lostForMs: number;
  /** Age of the last look at the queues, which is also the proof that the server answers, ms. */
  readonly ageMs: number;
}

/** Everything that one drawing shows. */
export interface Picture {
  readonly nowMs: number;
  readonly fresh: Freshness;
  readonly leader: LeaderLease | undefined;
  readonly nodes: readonly NodeRow[];
  readonly capabilities: readonly CapabilityRow[];
  readonly rates: Rates | undefined;
  readonly delayed: number;
  readonly dead: number;
  readonly paused: readonly string[];
  readonly tasks: readonly TaskRow[];
  /** Newest first. */
  readonly events: readonly StoredEvent[];
  /** What cannot be shown, and why. */
  readonly notes: readonly string[];
}

/** A picture older than this is called stale. */
export const STALE_MS = 6_000;

/** What a second of the mesh looks like; of counters that began anew nothing is said. */
export function ratesOf(before: Look | undefined, now: Look): Rates | undefined {
  const seconds = before === undefined ? 0 : (now.atMs - before.atMs) / 1_000;
  if (before === undefined || seconds <= 0) return undefined;
  const per = (count: number): number => Math.max(0, count) / seconds;
  return {
    submitted: per(now.submitted - before.submitted),
    finished: per(now.finished - before.finished),
    died: per(now.died - before.died),
  };
}

/** The lines of the nodes, by their ids. */
export function nodeRows(
  records: Iterable<NodeRecord>,
  leaseOf: (id: string) => NodeLease | undefined,
  { cordoned }: Settings,
): readonly NodeRow[] {
  return [...records]
    .map((record) => {
      const seen = leaseOf(record.id);
      const lease =
        seen?.incarnation === record.incarnation && !isGone(record.state) ? seen : undefined;
      const { id, state, slots, capabilities, host, reason } = record;
      return {
        ...{ id, state, slots, capabilities, host, reason },
        cordoned: cordoned.has(id),
        used: lease?.running,
        rttMs: lease?.rttMs,
        lagMs: lease?.lagMs,
        sinceMs: timeOf(record.updatedAt),
      };
    })
    .sort((left, right) => compareIds(left.id, right.id));
}

/** Most waiting first, then by name. */
export function capabilityRows(
  nodes: readonly NodeRecord[],
  { paused, cordoned }: Settings,
  looks: { readonly before: Look | undefined; readonly now: Look | undefined },
  oldest: ReadonlyMap<string, number>,
): readonly CapabilityRow[] {
  const there = nodes.filter(({ state }) => !isGone(state));
  const queues = looks.now?.queues ?? new Map<string, Queue>();
  const names = new Set([
    ...there.flatMap(({ capabilities }) => capabilities),
    ...[...queues.values()].filter(({ stored }) => stored > 0).map(({ capability }) => capability),
    ...paused.keys(),
  ]);
  const rows = [...names].sort(compareIds).map((capability): CapabilityRow => {
    const given = there.filter(
      ({ id, state, capabilities }) =>
        state === "ACTIVE" && !cordoned.has(id) && capabilities.includes(capability),
    );
    const slots = given
      .flatMap(({ agents }) => agents)
      .filter((agent) => agent.capabilities.includes(capability))
      .reduce((sum, agent) => sum + agent.slots, 0);
    const queue = queues.get(capability);
    const idle = looks.now?.running.get(capability) === 0;
    const waitingIn = (name: LaneName): number => {
      const lane = queue?.lanes.find((one) => one.lane === name);
      return (idle ? lane?.stored : lane?.waiting) ?? 0;
    };
    const inHand = (queue?.stored ?? 0) - (queue?.waiting ?? 0);
    const taken = Math.min(inHand, looks.now?.running.get(capability) ?? inHand);
    const [retry = 0, high = 0, normal = 0, low = 0] = LANES.map(waitingIn);
    return {
      ...{ capability, nodes: given.length, slots, lanes: { retry, high, normal, low } },
      waiting: (queue?.stored ?? 0) - taken,
      taken,
      oldestAtMs: oldest.get(capability),
      perSecond: deliveredPerSecond(capability, looks),
      paused: paused.get(capability),
    };
  });
  return rows.sort((left, right) => right.waiting - left.waiting);
}

function deliveredPerSecond(
  capability: string,
  { before, now }: { readonly before: Look | undefined; readonly now: Look | undefined },
): number | undefined {
  if (before === undefined || now === undefined || now.atMs <= before.atMs) return undefined;
  const count = (look: Look): number =>
    (look.queues.get(capability)?.lanes ?? []).reduce(
      (sum, lane) => sum + (lane.delivered ?? 0),
      0,
    );
  // A new leader makes the consumers anew, and their counters with them.
  const change = count(now) - count(before);
  return change < 0 ? undefined : (change * 1_000) / (now.atMs - before.atMs);
}
