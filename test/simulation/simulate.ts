/** Runs one seed: builds the mesh that its plan asks for, lets it run, and judges. */
import { type NodeRecord, nodeLeaseKey } from "@swarm-mesh/protocol";
import { client } from "./client.ts";
import { Coordinator } from "./coordinator.ts";
import { planFaults } from "./faults.ts";
import { Judge, type Violation } from "./judge.ts";
import { migrator } from "./migrator.ts";
import { monitor } from "./monitor.ts";
import { Network } from "./network.ts";
import { SimNode } from "./node.ts";
import { type Plan, planOf } from "./plan.ts";
import { registry } from "./registry.ts";
import { restProblem } from "./rest.ts";
import { Dice, Scheduler } from "./scheduler.ts";
import { StoreServer } from "./store.ts";
import type { Host, Sabotage, World } from "./world.ts";

/** What became of a seed. */
export interface Outcome {
  readonly seed: number;
  readonly violation: Violation | undefined;
  /** The last events, and those about the task in question, for people. */
  readonly tail: readonly string[];
  /** Events that ran, and virtual time passed. */
  readonly events: number;
  readonly elapsedMs: number;
}

/** Everything that takes part in a run. */
export interface Mesh {
  readonly world: World;
  readonly coordinators: readonly Coordinator[];
  readonly nodes: readonly SimNode[];
  readonly hosts: ReadonlyMap<string, Host>;
}

/** How long after the last fault everything must have come to rest. */
const REST_WITHIN_MS = 600_000;
const LOOK_EVERY_MS = 500;
/** The network once nothing goes wrong any more. */
const CALM = {
  ...{ baseMs: 0.2, jitterMs: 0.5, slowRate: 0, slowMs: 0 },
  ...{ dropRate: 0, duplicateRate: 0, ordered: true },
};
/** A life that was disturbed less long ago may rightly be taken for dead. */
const SOUND_AFTER_MS = 8_000;

/** Runs a seed; with `sabotage`, to see that it is noticed. */
export async function simulate(seed: number, sabotage: Sabotage = {}): Promise<Outcome> {
  const plan = planOf(seed);
  const mesh = meshOf(plan, sabotage);
  const { scheduler, judge, dice } = mesh.world;
  for (const host of mesh.hosts.values()) {
    scheduler.after(dice.between(0, 300), () => host.process.start());
  }
  planFaults({
    world: mesh.world,
    hosts: mesh.hosts,
    nodes: mesh.nodes.map((node) => node.host),
    drain: (id, deadlineMs) => mesh.nodes.find((node) => node.plan.id === id)?.drain(deadlineMs),
  });
  const until = plan.healAt + REST_WITHIN_MS;
  let isAtRest = false;
  const look = (): void => {
    isAtRest = restProblem(mesh) === undefined;
    if (!isAtRest) scheduler.after(LOOK_EVERY_MS, look);
  };
  scheduler.after(plan.healAt, () => {
    mesh.world.network.conditions = CALM;
    look();
  });
  const { setImmediate } = globalThis;
  globalThis.setImmediate = scheduler.immediate as typeof setImmediate;
  try {
    await scheduler.run(until, () => isAtRest || judge.violation !== undefined);
  } finally {
    globalThis.setImmediate = setImmediate;
  }
  if (!isAtRest) judge.fail("everything comes to rest", restProblem(mesh) ?? "");
  judge.conclude(mesh.world.store.tasks.entries(), waitingIn(mesh.world.store));
  for (const host of mesh.hosts.values()) for (const ending of host.endings) ending.abort();
  const { violation } = judge;
  const tail = violation === undefined ? [] : judge.tail(violation.about);
  return { seed, violation, tail, events: scheduler.count, elapsedMs: scheduler.now };
}

function meshOf(plan: Plan, sabotage: Sabotage): Mesh {
  const scheduler = new Scheduler();
  const judge = new Judge(plan, scheduler);
  const store = new StoreServer({
    scheduler,
    dice: new Dice(plan.seed, 2),
    dedupeMs: plan.dedupeMs,
    onAccepted: (bucket, entry, before) => judge.accepted(bucket, entry, before),
    onStored: (message) => judge.carries(message),
    onGone: (message) => judge.letGo(message),
    onDead: (task, status) => judge.deadLetter(task, status),
  });
  const world: World = {
    plan,
    scheduler,
    dice: new Dice(plan.seed, 3),
    network: new Network(scheduler, new Dice(plan.seed, 4), plan.conditions),
    store,
    judge,
    sabotage,
  };
  const coordinators = plan.coordinators.map((name) => new Coordinator(world, name));
  const nodes = plan.nodes.map((node) => new SimNode(world, node));
  const hosts = [
    ...coordinators.map((one) => one.host),
    ...nodes.map((one) => one.host),
    ...plan.monitors.map((name) => monitor(world, name)),
    ...plan.migrators.map((name) => migrator(world, name)),
    ...plan.registries.map((name) => registry(world, name)),
    client(world, "client-1"),
  ];
  const mesh = {
    world,
    coordinators,
    nodes,
    hosts: new Map(hosts.map((host) => [host.name, host])),
  };
  judge.see({
    leaders: () =>
      coordinators.filter((one) => one.believes && one.isHeard).map((one) => one.host.name),
    isSound: (node, incarnation) => isSound(mesh, node, incarnation),
    livingCount: () => livingCount(store),
  });
  return mesh;
}

function isSound({ world, nodes }: Mesh, id: string, incarnation: number): boolean {
  const node = nodes.find((one) => one.plan.id === id);
  if (node === undefined || node.life !== incarnation) return false;
  const { process, link } = node.host;
  const { now } = world.scheduler;
  if (process.frozen || link.cut || !link.connected || link.session?.alive !== true) return false;
  if (now - Math.max(process.troubleAt, link.troubleAt) < SOUND_AFTER_MS) return false;
  const lease = world.store.leases.get(nodeLeaseKey(id))?.value as
    | { incarnation: number }
    | undefined;
  return lease?.incarnation === incarnation;
}

function livingCount(store: StoreServer): number {
  let count = 0;
  for (const { value } of store.nodes.entries()) {
    const { state } = value as NodeRecord;
    if (state !== "FAILED" && state !== "LEFT" && state !== "JOINING") count++;
  }
  return count;
}

function waitingIn({ submits, retries }: StoreServer): string[] {
  const messages = [submits, retries].flatMap((stream) => [
    ...stream.messages.values(),
    ...[...stream.scheduled.values()].map((one) => one.message),
  ]);
  return [...new Set(messages.map((one) => one.task))];
}
