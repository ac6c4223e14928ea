/** Fleets of light nodes, in a few processes. */
import type { MeshPeer } from "../peers/mesh.ts";
import { WorkerProcess } from "../processes.ts";
import type { FleetCounts } from "../workers/fleet.ts";

/** They share one process, so that what is measured has the cores; it signs for each as it connects. */
const NODES_PER_PROCESS = 1_000;

export interface FleetOptions {
  /** The first part of the nodes' ids; no two fleets of one mesh share it. */
  readonly prefix: string;
  readonly count: number;
  /** Of each node. */
  readonly slots: number;
  readonly capabilities: readonly string[];
  readonly signal: AbortSignal;
}

export class Fleet {
  readonly #peer: MeshPeer;
  readonly #processes: readonly WorkerProcess[];

  private constructor(peer: MeshPeer, processes: readonly WorkerProcess[]) {
    this.#peer = peer;
    this.#processes = processes;
  }

  /** Resolves once every node has joined. The nodes end with the mesh, if they do not before. */
  static async join(peer: MeshPeer, options: FleetOptions): Promise<Fleet> {
    const { prefix, count, slots, capabilities, signal } = options;
    const ids = Array.from({ length: count }, (_, index) => `${prefix}-${index + 1}`);
    await peer.addKeys(ids);
    const shares = Array.from({ length: Math.ceil(count / NODES_PER_PROCESS) }, (_, index) =>
      ids.slice(index * NODES_PER_PROCESS, (index + 1) * NODES_PER_PROCESS),
    );
    const processes = await Promise.all(
      shares.map((share) => {
        const nodes = share.map((id) => ({ id, seedPath: peer.mesh.key(id) }));
        const setup = { url: peer.mesh.url, slots, capabilities, nodes };
        return WorkerProcess.start("fleet", { name: prefix, setup, signal });
      }),
    );
    peer.adopt(processes);
    return new Fleet(peer, processes);
  }

  async counts(): Promise<FleetCounts> {
    const all = await Promise.all(this.#processes.map((each) => each.call<FleetCounts>("counts")));
    return {
      done: total(all, "done"),
      held: total(all, "held"),
      lost: total(all, "lost"),
    };
  }

  /** Has every node leave in order, and ends the processes. */
  async leave(): Promise<void> {
    await Promise.all(this.#processes.map((each) => each.call("leave")));
    await this.#peer.dismiss(this.#processes);
  }
}

function total(all: readonly FleetCounts[], name: keyof FleetCounts): number {
  return all.reduce((sum, counts) => sum + counts[name], 0);
}
