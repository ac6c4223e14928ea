/** What happens in a run, all of it from its seed: who is there, what is submitted, what goes wrong. */
import {
  BACKOFF_DEFAULT,
  type Labels,
  type Lane,
  STRATEGIES,
  type SubmitOptions,
} from "@swarm-mesh/protocol";
import type { Conditions } from "./network.ts";
import { Dice } from "./scheduler.ts";

export interface NodePlan {
  readonly id: string;
  readonly agents: readonly {
    readonly name: string;
    readonly slots: number;
    readonly capabilities: readonly string[];
  }[];
  readonly labels: Labels;
  /** Does it read batches? */
  readonly batches: boolean;
}

export interface TaskPlan {
  readonly id: string;
  readonly capability: string;
  readonly lane: Lane;
  readonly options: SubmitOptions;
  readonly payloadBytes: number;
  /** Its headers cannot be read: it is rejected. */
  readonly isBad: boolean;
  /** When it is submitted; more than once is the same task again. */
  readonly submitAt: readonly number[];
  readonly cancelAt: number | undefined;
  readonly steps: number;
  readonly stepMs: number;
  readonly saves: boolean;
  readonly reports: boolean;
  /** Attempts up to this one fail. */
  readonly failures: number;
  readonly endsBadly: boolean;
  readonly ignoresSignal: boolean;
}

/** What is done, to whom, from when and for how long. Milliseconds of true time. */
export interface Fault {
  readonly kind: FaultKind;
  /** A process; `""`: the server, or all nodes. */
  readonly target: string;
  readonly at: number;
  /** Infinite: for good. */
  readonly forMs: number;
}

/** See faults.ts for what each does. */
const FAULT_KINDS = [
  "kill",
  "freeze",
  "cut",
  "blip",
  "drain",
  "wall",
  "silence",
  "store",
  "server",
  "all-blip",
  "all-cut",
] as const;
type FaultKind = (typeof FAULT_KINDS)[number];

export interface Plan {
  readonly seed: number;
  readonly conditions: Conditions;
  readonly timerLateMs: number;
  readonly leaderLeaseTtlMs: number;
  readonly orphanAfterMs: number;
  readonly dedupeMs: number;
  readonly nodes: readonly NodePlan[];
  /** The names of the services' processes. */
  readonly coordinators: readonly string[];
  readonly monitors: readonly string[];
  readonly migrators: readonly string[];
  readonly registries: readonly string[];
  readonly tasks: readonly TaskPlan[];
  readonly faults: readonly Fault[];
  /** From then on nothing goes wrong any more. */
  readonly healAt: number;
  readonly task: (id: string) => TaskPlan;
}

/** Faults begin before it, and are over by {@link HEAL_MS}. */
const FAULTS_UNTIL_MS = 12_000;
const HEAL_MS = 20_000;
const CAPABILITIES = ["add", "mul"] as const;

export function planOf(seed: number): Plan {
  const dice = new Dice(seed, 1);
  const nodes = nodesOf(dice);
  const names = (service: string, count: number): string[] =>
    Array.from({ length: count }, (_, index) => `${service}-${index + 1}`);
  const coordinators = names("coordinator", dice.int(1, 3));
  const monitors = names("health-monitor", dice.int(1, 2));
  // Without a migrator the leader's sweep must do.
  const migrators = names("migrator", dice.chance(0.1) ? 0 : dice.int(1, 2));
  const registries = names("registry", dice.int(1, 2));
  const services = [...coordinators, ...monitors, ...migrators, ...registries];
  const tasks = tasksOf(dice, nodes);
  const byId = new Map(tasks.map((task) => [task.id, task]));
  return {
    seed,
    conditions: conditionsOf(dice),
    timerLateMs: dice.pick([0, 1, 20]),
    leaderLeaseTtlMs: dice.pick([3_000, 3_000, 12_000]),
    orphanAfterMs: 5_000,
    dedupeMs: dice.pick([2_000, 120_000]),
    nodes,
    coordinators,
    monitors,
    migrators,
    registries,
    tasks,
    faults: faultsOf(dice, nodes, services),
    healAt: HEAL_MS,
    task: (id) => {
      const task = byId.get(id);
      if (task === undefined) throw new RangeError(`no task ${id} was planned`);
      return task;
    },
  };
}

/** Half of the runs have a network like TCP on one machine, the others one that is worse than any. */
function conditionsOf(dice: Dice): Conditions {
  const calm = { baseMs: 0.2, jitterMs: dice.pick([0.5, 5]), dropRate: 0, duplicateRate: 0 };
  if (dice.chance(0.5)) return { ...calm, slowRate: 0.01, slowMs: 100, ordered: true };
  return {
    ...calm,
    slowRate: dice.pick([0.01, 0.05]),
    slowMs: dice.pick([50, 400, 1_500]),
    dropRate: dice.pick([0, 0.01, 0.05]),
    duplicateRate: dice.pick([0, 0.02, 0.1]),
    ordered: dice.chance(0.5),
  };
}

function nodesOf(dice: Dice): NodePlan[] {
  return Array.from({ length: dice.int(1, 5) }, (_, index) => {
    // The first one can do everything, and is never gone for good: every task can end.
    const first = index === 0;
    const both = first || dice.chance(0.5);
    const capabilities = both ? CAPABILITIES : [dice.pick(CAPABILITIES)];
    const main = { name: "main", slots: dice.int(1, 3), capabilities };
    const more = { name: "more", slots: 1, capabilities: [dice.pick(CAPABILITIES)] };
    return {
      id: `n${index + 1}`,
      agents: dice.chance(0.3) ? [main, more] : [main],
      labels: first || dice.chance(0.4) ? { gpu: "a100" } : {},
      batches: dice.chance(0.75),
    };
  });
}

function tasksOf(dice: Dice, nodes: readonly NodePlan[]): TaskPlan[] {
  return Array.from({ length: dice.int(3, 16) }, (_, index) => {
    const at = dice.between(300, 11_000);
    const twice = dice.chance(0.15) ? [at + dice.between(0, 20_000)] : [];
    return {
      id: `t${index + 1}`,
      capability: dice.pick(CAPABILITIES),
      lane: dice.pick(["high", "normal", "normal", "low"] as const),
      options: optionsOf(dice, nodes),
      payloadBytes: dice.chance(0.15) ? 10_000 : 100,
      isBad: dice.chance(0.03),
      submitAt: [at, ...twice],
      cancelAt: dice.chance(0.12) ? at + dice.between(0, 4_000) : undefined,
      steps: dice.int(1, 6),
      stepMs: dice.pick([1, 30, 300, 1_000]),
      saves: dice.chance(0.5),
      reports: dice.chance(0.1),
      failures: dice.chance(0.2) ? dice.int(1, 3) : 0,
      endsBadly: dice.chance(0.05),
      ignoresSignal: dice.chance(0.15),
    };
  });
}

function optionsOf(dice: Dice, nodes: readonly NodePlan[]): SubmitOptions {
  const soon = { kind: "exponential", baseMs: 100, maxMs: 2_000 } as const;
  return {
    maxAttempts: dice.int(1, 4),
    timeoutMs: dice.chance(0.1) ? 2_000 : 60_000,
    backoff: dice.pick([soon, BACKOFF_DEFAULT, { kind: "fixed", delayMs: 300 }] as const),
    requires: dice.chance(0.15) ? { gpu: "a100" } : undefined,
    prefer: dice.chance(0.15) ? dice.pick(nodes).id : undefined,
    strategy: dice.pick(STRATEGIES),
    trace: undefined,
    signature: undefined,
  };
}

function faultsOf(dice: Dice, nodes: readonly NodePlan[], services: readonly string[]): Fault[] {
  const count = dice.chance(0.1) ? 0 : dice.int(1, 7);
  return Array.from({ length: count }, () => {
    const kind = dice.pick(FAULT_KINDS);
    const at = dice.between(500, FAULTS_UNTIL_MS);
    const all = nodes.map((node) => node.id);
    const node = dice.pick(all);
    const target = kind === "drain" || dice.chance(0.5) ? node : dice.pick(services);
    const whole = kind === "store" || kind === "server" || kind.startsWith("all-");
    const forGood =
      kind === "kill" && target.startsWith("n") && target !== "n1" && dice.chance(0.3);
    const forMs = forGood ? Number.POSITIVE_INFINITY : lengthOf(dice, kind);
    return { kind, target: whole ? "" : target, at, forMs };
  });
}

function lengthOf(dice: Dice, kind: FaultKind): number {
  if (kind === "drain") return dice.pick([500, 2_000]);
  if (kind === "blip" || kind === "all-blip") return dice.pick([0, 50, 150, 1_000]);
  return dice.pick([100, 500, 2_000, 5_000, 7_500]);
}
