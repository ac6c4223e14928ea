/**
 * Which faults strike when: a pure function of a seed, a duration and the targets.
 *
 * Faults come in clusters. Within a cluster several may strike at once, on different targets; between
 * two clusters the mesh has some seconds of health. A target has one fault at a time. Every fault is
 * over before the run is.
 */
import type { Random } from "@swarm-mesh/runtime";
import { between, oneOf, seededRandom, weighted } from "./random.ts";

/** Every fault there is; `docs/faults.md` says what each does. */
export const FAULTS = [
  "kill",
  "freeze",
  "restart",
  "cut",
  "half-open",
  "stall",
  "latency",
  "link-down",
  "deaf",
  "mute",
  "clock",
  "disk-full",
] as const;
export type Fault = (typeof FAULTS)[number];

/** Something a fault can strike. */
export interface Target {
  /** `n1`, `coordinator-1`, `nats-server`; {@link LEADER} for whichever coordinator leads then. */
  readonly name: string;
  readonly role: "server" | "leader" | "service" | "node";
  /** What lies between it and nats-server that can be made to fail. */
  readonly link: "proxy" | "namespace" | "none";
  /** Is its disk small enough to be filled? */
  readonly smallDisk?: boolean;
}

/** The coordinator that leads at the moment the fault strikes. */
export const LEADER = "leader";

export interface ScheduledFault {
  /** From the start of the run. */
  readonly atMs: number;
  readonly fault: Fault;
  readonly target: string;
  /** From the strike until it is healed: thawed, linked, or started again. */
  readonly lengthMs: number;
  /** `latency`: added each way. `clock`: how far the clock jumps. Else 0. */
  readonly amountMs: number;
}

export interface ScheduleOptions {
  readonly seed: number;
  readonly durationMs: number;
  readonly targets: readonly Target[];
  /** Faults to draw from. Those that no target can have are never drawn. */
  readonly only?: readonly Fault[];
}

/** The mesh starts and the load flows before the first fault, and rests after the last one. */
const FIRST_MS = 5_000;
const LAST_MS = 3_000;
/** Health between two clusters. */
const HEALTH_MS = { least: 2_500, most: 5_000 } as const;
/** How far apart the faults of one cluster strike. */
const SPREAD_MS = 1_500;
const SIZES = [
  [30, 1],
  [32, 2],
  [20, 3],
  [12, 4],
  [6, 5],
] as const;
/** How many clusters of a hundred strike all targets of one group at the same moment. */
const GROUP_PERCENT = 8;
/** A full disk stops everything and ends in a restart: seldom, and never in the first minute. */
const DISK_FIRST_MS = 30_000;
const DISK_EVERY_MS = 180_000;

type Lengths = readonly (readonly [weight: number, least: number, most: number])[];

/** Blinks, waits that the timeouts of a client see, around the lease's TTL of 6 s, and well beyond. */
const OUTAGE: Lengths = [
  [30, 100, 1_000],
  [30, 1_500, 4_500],
  [28, 5_000, 7_500],
  [12, 9_000, 14_000],
];
const SERVER_OUTAGE: Lengths = [
  [60, 200, 1_500],
  [30, 2_000, 5_000],
  [10, 6_000, 9_000],
];
/** From the death until it is started again. */
const DEAD: Lengths = [
  [60, 100, 1_500],
  [30, 2_000, 5_000],
  [10, 6_500, 9_000],
];

interface Rule {
  readonly weight: number;
  readonly hits: (target: Target) => boolean;
  readonly lengths: Lengths;
  readonly amount?: (random: Random, target: Target) => number;
}

const hasProxy = ({ link }: Target): boolean => link === "proxy";
const hasNamespace = ({ link }: Target): boolean => link === "namespace";

const RULES: Readonly<Record<Fault, Rule>> = {
  kill: { weight: 26, hits: () => true, lengths: DEAD },
  freeze: { weight: 18, hits: () => true, lengths: OUTAGE },
  restart: { weight: 9, hits: () => true, lengths: [[1, 0, 1_500]] },
  cut: { weight: 9, hits: hasProxy, lengths: [[1, 0, 3_000]] },
  "half-open": { weight: 10, hits: hasProxy, lengths: OUTAGE },
  stall: { weight: 6, hits: hasProxy, lengths: OUTAGE },
  latency: {
    weight: 6,
    hits: hasProxy,
    lengths: [[1, 2_000, 8_000]],
    amount: (random) => between(random, 20, 600),
  },
  "link-down": { weight: 12, hits: hasNamespace, lengths: OUTAGE },
  deaf: { weight: 5, hits: hasNamespace, lengths: OUTAGE },
  mute: { weight: 5, hits: hasNamespace, lengths: OUTAGE },
  clock: {
    weight: 9,
    hits: ({ role }) => role === "node" || role === "service",
    lengths: [[1, 1_000, 6_000]],
    amount: clockJump,
  },
  "disk-full": {
    weight: 4,
    hits: ({ smallDisk }) => smallDisk === true,
    lengths: [[1, 2_000, 6_000]],
  },
};

/**
 * Up to an hour, forward or back. A coordinator's clock says when a retry is due, so its jump forward
 * is one that a run can wait for.
 */
function clockJump(random: Random, { name }: Target): number {
  const back = random() < 0.5;
  const most = back || !isCoordinator(name) ? 3_600_000 : 20_000;
  return between(random, 500, most) * (back ? -1 : 1);
}

/** The server's faults stop all work, so they are drawn less often than its share of the targets. */
const ROLE_WEIGHTS: Readonly<Record<Target["role"], number>> = {
  server: 5,
  leader: 8,
  service: 3,
  node: 7,
};

/** The faults of a run, by time. The same options give the same faults. */
export function schedule(options: ScheduleOptions): readonly ScheduledFault[] {
  const random = seededRandom(options.seed);
  const drawn: ScheduledFault[] = [];
  let atMs = FIRST_MS;
  let diskFromMs = DISK_FIRST_MS;
  for (;;) {
    const disk = atMs >= diskFromMs;
    const cluster = drawCluster(random, { ...options, atMs, disk });
    if (cluster.length === 0 && !disk) {
      // Nothing but a full disk is left to be drawn, or not even that: the next round tells.
      atMs = diskFromMs;
      continue;
    }
    const overMs = Math.max(...cluster.map((each) => each.atMs + each.lengthMs));
    if (cluster.length === 0 || overMs > options.durationMs - LAST_MS) return drawn;
    drawn.push(...cluster);
    if (cluster.some(({ fault }) => fault === "disk-full")) diskFromMs = atMs + DISK_EVERY_MS;
    atMs = overMs + between(random, HEALTH_MS.least, HEALTH_MS.most);
  }
}

interface ClusterOptions extends ScheduleOptions {
  readonly atMs: number;
  /** May the disk be filled by now? */
  readonly disk: boolean;
}

function drawCluster(random: Random, options: ClusterOptions): ScheduledFault[] {
  const faults = (options.only ?? FAULTS).filter((fault) => options.disk || fault !== "disk-full");
  if (random() * 100 < GROUP_PERCENT) {
    const group = drawGroup(random, options, faults);
    if (group.length > 0) return group;
  }
  const size = weighted(random, SIZES);
  const cluster: ScheduledFault[] = [];
  let free = options.targets;
  while (cluster.length < size) {
    const drawn = drawFault(random, { ...options, targets: free, only: faults });
    if (drawn === undefined) break;
    // With the disk full nothing else can be told apart: it has the cluster for itself.
    if (drawn.fault === "disk-full") return cluster.length === 0 ? [drawn] : cluster;
    cluster.push(drawn);
    free = withoutTarget(free, drawn.target);
  }
  return cluster.sort((a, b) => a.atMs - b.atMs);
}

function drawFault(random: Random, options: ClusterOptions): ScheduledFault | undefined {
  const pairs = (options.only ?? FAULTS).flatMap((fault) => {
    const hit = options.targets.filter((target) => RULES[fault].hits(target));
    return hit.length === 0 ? [] : [[RULES[fault].weight, { fault, hit }] as const];
  });
  if (pairs.length === 0) return undefined;
  const { fault, hit } = weighted(random, pairs);
  const target = weighted(
    random,
    hit.map((each) => [ROLE_WEIGHTS[each.role], each]),
  );
  return faultOn(random, { fault, target, atMs: options.atMs + between(random, 0, SPREAD_MS) });
}

/** The same fault on every node, or on every process of the services, at the same moment. */
function drawGroup(
  random: Random,
  options: ClusterOptions,
  faults: readonly Fault[],
): ScheduledFault[] {
  const role = oneOf(random, ["node", "service"] as const);
  const members = options.targets.filter((target) => target.role === role);
  const able = faults.filter(
    (fault) => members.filter((target) => RULES[fault].hits(target)).length > 1,
  );
  if (able.length === 0) return [];
  const fault = weighted(
    random,
    able.map((each) => [RULES[each].weight, each]),
  );
  return members
    .filter((target) => RULES[fault].hits(target))
    .map((target) => faultOn(random, { fault, target, atMs: options.atMs }));
}

function faultOn(
  random: Random,
  { fault, target, atMs }: { fault: Fault; target: Target; atMs: number },
): ScheduledFault {
  const rule = RULES[fault];
  const lengths =
    target.role === "server" && rule.lengths === OUTAGE ? SERVER_OUTAGE : rule.lengths;
  const [, least, most] = weighted(
    random,
    lengths.map((each) => [each[0], each]),
  );
  const lengthMs = between(random, least, most);
  return {
    atMs,
    fault,
    target: target.name,
    lengthMs,
    amountMs: rule.amount?.(random, target) ?? 0,
  };
}

/** A target has one fault at a time, and the leader is one of the coordinators. */
function withoutTarget(targets: readonly Target[], name: string): readonly Target[] {
  return targets.filter((target) => {
    if (target.name === name) return false;
    if (name === LEADER) return !isCoordinator(target.name);
    return !isCoordinator(name) || target.role !== "leader";
  });
}

function isCoordinator(name: string): boolean {
  return name.startsWith("coordinator-");
}
