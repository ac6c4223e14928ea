/** Does to a simulated mesh what the plan says, and undoes it. */
import type { Fault } from "./plan.ts";
import type { Host, World } from "./world.ts";

/** What a node is told when it is to leave. */
const DRAIN_DEADLINE_MS = 1_500;

/** The mesh, as far as faults go. */
export interface Faulty {
  readonly world: World;
  readonly hosts: ReadonlyMap<string, Host>;
  readonly nodes: readonly Host[];
  readonly drain: (id: string, deadlineMs: number) => void;
}

export function planFaults(mesh: Faulty): void {
  const { scheduler, plan, judge } = mesh.world;
  for (const fault of plan.faults) {
    scheduler.after(fault.at, () => {
      judge.fault(fault);
      const undo = inflict(fault, mesh);
      if (!Number.isFinite(fault.forMs)) return;
      scheduler.after(fault.forMs, () => {
        undo();
        judge.healed(fault);
      });
    });
  }
}

/** Does it; what is returned undoes it. */
function inflict(fault: Fault, mesh: Faulty): () => void {
  const { kind, target } = fault;
  const { world, nodes } = mesh;
  const host = mesh.hosts.get(target);
  switch (kind) {
    case "store":
      world.store.fail();
      return () => world.store.recover();
    case "server":
      // What it has stored is there when it comes back.
      world.store.fail();
      world.network.crash();
      return () => {
        world.network.restart();
        world.store.recover();
      };
    case "all-blip":
      for (const node of nodes) if (node.process.alive) node.link.reset(fault.forMs);
      return () => undefined;
    case "all-cut":
      for (const node of nodes) node.link.cutOff();
      return () => {
        for (const node of nodes) node.link.heal();
      };
    case "drain":
      mesh.drain(target, DRAIN_DEADLINE_MS);
      // Its process ends when it has left, or is ended; then it is started again.
      return () => restart(world, host);
    default:
      return host === undefined ? () => undefined : inflictOn(host, fault);
  }
}

function inflictOn(host: Host, { kind, forMs }: Fault): () => void {
  const { process, link, world } = host;
  switch (kind) {
    case "kill":
      process.kill();
      return () => process.start();
    case "freeze":
      process.freeze();
      return () => process.thaw();
    case "cut":
      link.cutOff();
      return () => link.heal();
    case "blip":
      if (process.alive) link.reset(forMs);
      return () => undefined;
    case "wall":
      // A clock that is set: forwards by as much, or backwards.
      process.wallOffMs += forMs * (world.dice.chance(0.5) ? 1 : -1);
      return () => undefined;
    case "silence":
      if (link.session !== undefined) {
        world.store.nodes.silence(link.session);
        world.store.leases.silence(link.session);
      }
      return () => undefined;
    default:
      return () => undefined;
  }
}

/** Starts a node again once it has left; one that takes too long is killed. */
function restart(world: World, host: Host | undefined): void {
  if (host === undefined) return;
  world.scheduler.after(DRAIN_DEADLINE_MS + 4_000, () => {
    host.process.kill();
    host.process.start();
  });
}
