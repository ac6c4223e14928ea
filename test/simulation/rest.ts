/** When is a mesh at rest? When nothing is left to do, and everyone's beliefs are true. */
import { isFinal, type NodeRecord, nodeLeaseKey } from "@swarm-mesh/protocol";
import type { Fleet } from "../../services/coordinator/src/fleet.ts";
import type { SimNode } from "./node.ts";
import type { Mesh } from "./simulate.ts";
import type { Stream } from "./streams.ts";

/** Why the mesh is not at rest yet; `undefined`: it is. */
export function restProblem(mesh: Mesh): string | undefined {
  return tasksProblem(mesh) ?? streamsProblem(mesh) ?? nodesProblem(mesh) ?? leaderProblem(mesh);
}

function tasksProblem({ world: { judge, store } }: Mesh): string | undefined {
  for (const task of judge.acknowledgedTasks) {
    const status = judge.record(task)?.status;
    if (status === undefined || !isFinal(status)) return `${task} is ${status ?? "waiting"}`;
  }
  for (const { key, value } of store.tasks.entries()) {
    const { status } = value as { status: Parameters<typeof isFinal>[0] };
    if (!isFinal(status)) return `${key} is ${status}`;
  }
  return undefined;
}

function streamsProblem({ world: { store, plan } }: Mesh): string | undefined {
  const problem = (stream: Stream): string | undefined => {
    if (stream.scheduled.size > 0) return `${stream.options.name} holds what is due later`;
    return stream.messages.size > 0 ? `${stream.options.name} holds messages` : undefined;
  };
  const events = store.events.consumers.get("migrator");
  const untold = events !== undefined && events.waiting + events.ackPending > 0;
  const migrating = untold && plan.migrators.length > 0;
  return (
    problem(store.submits) ?? problem(store.retries) ?? (migrating ? "events wait" : undefined)
  );
}

function nodesProblem({ world: { store }, nodes }: Mesh): string | undefined {
  for (const node of nodes) {
    const { id } = node.plan;
    if (node.running > 0) return `${id} runs ${node.running} tasks`;
    if (node.untold > 0) return `${id} has ${node.untold} outcomes to tell`;
    const record = store.nodes.get(id)?.value as NodeRecord | undefined;
    if (node.host.process.alive) {
      if (record?.state !== "ACTIVE") return `${id} is ${record?.state}, and its process lives`;
      if (record.incarnation !== node.life)
        return `${id} lives life ${node.life}, recorded is ${record.incarnation}`;
      if (store.leases.get(nodeLeaseKey(id))?.value === undefined) return `${id} has no lease`;
    } else if (record !== undefined && record.state !== "FAILED" && record.state !== "LEFT") {
      return `${id} is ${record.state}, and its process is dead`;
    }
  }
  return undefined;
}

function leaderProblem({ coordinators, nodes }: Mesh): string | undefined {
  const leaders = coordinators.filter((one) => one.believes);
  const [leader] = leaders;
  const fleet = leader?.fleet;
  if (leaders.length !== 1 || fleet === undefined) return `${leaders.length} lead`;
  return slotsProblem(fleet, nodes);
}

/** The slots that the leader counts must be those that there are: all of them are free. */
function slotsProblem(fleet: Fleet, nodes: readonly SimNode[]): string | undefined {
  for (const capability of new Set(
    nodes.flatMap(({ plan }) => plan.agents.flatMap((one) => one.capabilities)),
  )) {
    let free = 0;
    for (const { host, plan } of nodes) {
      if (!host.process.alive) continue;
      for (const agent of plan.agents)
        if (agent.capabilities.includes(capability)) free += agent.slots;
    }
    if (fleet.free(capability) !== free) {
      const counted = fleet
        .candidates(capability)
        .map((one) => `${one.id} ${one.used}/${one.slots}`);
      return `the leader counts ${fleet.free(capability)} free slots for ${capability} (${counted.join(", ")}), there are ${free}`;
    }
  }
  return undefined;
}
