/** One run of one peer, with everything that is noted of it. */
import { CpuMeter, type Role, residentMib } from "./cpu.ts";
import { BullmqPeer } from "./peers/bullmq.ts";
import { MeshPeer } from "./peers/mesh.ts";
import type { Peer, PeerName, PeerOptions } from "./peers/peer.ts";
import { RawPeer } from "./peers/raw.ts";
import { stopAfter, stopAll } from "./processes.ts";
import { type JsonLine, rounded } from "./report.ts";
import type { Session } from "./session.ts";
import { latencyFigures } from "./stats.ts";
import type { LoadOrder } from "./workers/load.ts";

export interface Run {
  readonly peer: PeerName;
  readonly tasks: number;
  readonly perSecond: number;
  readonly latenciesMs: readonly number[];
  /** CPU time a task of each kind of process, in microseconds, and of all of them. */
  readonly cpuUs: Readonly<Partial<Record<Role, number>>>;
  readonly cpuTotalUs: number;
  /** Memory of each process after the run, in MiB, by its name. */
  readonly residentMib: Readonly<Record<string, number>>;
  /** Cores that others used meanwhile. */
  readonly foreignCores: number;
}

const START: Readonly<Record<PeerName, (options: PeerOptions) => Promise<Peer>>> = {
  mesh: (options) => MeshPeer.start(options),
  bullmq: (options) => BullmqPeer.start(options),
  raw: (options) => RawPeer.start(options),
};

/** Tasks that are run before anything is measured: until the code of all processes is compiled. */
const WARM_UP_TASKS = 3_000;
/** With more cores used by others a run is not to be trusted. */
const FOREIGN_CORES_MAX = 0.25;

/** Starts the peers, runs `work`, and stops them, whatever happens. */
export async function withPeers(
  session: Session,
  names: readonly PeerName[],
  durability: PeerOptions["durability"],
  work: (peers: readonly Peer[]) => Promise<void>,
): Promise<void> {
  const peers: Peer[] = [];
  const startAndWork = async (): Promise<void> => {
    for (const name of names) {
      session.report.progress(`starting ${name}`);
      peers.push(await START[name]({ durability, signal: session.signal }));
    }
    await work(peers);
  };
  await stopAfter(startAndWork, () => stopAll(peers));
}

/** A mesh without nodes, alone on the machine; stopped whatever happens. */
export async function withMesh<T>(
  { signal }: Session,
  work: (peer: MeshPeer) => Promise<T>,
): Promise<T> {
  const peer = await MeshPeer.start({ durability: "second", signal });
  return stopAfter(
    () => work(peer),
    () => peer.stop(),
  );
}

/** Makes the peer so many nodes, which share the slots, and runs it warm. */
export async function prepare(session: Session, peer: Peer, nodes: number): Promise<void> {
  const { concurrency, payload } = session.options;
  await peer.setNodes(nodes, Math.ceil(concurrency / nodes));
  await peer.run({ kind: "closed", tasks: WARM_UP_TASKS, concurrency, payloadBytes: payload });
}

/** Runs the load and takes the figures. Rejects unless every task is stored as ended well. */
export async function measure(session: Session, peer: Peer, order: LoadOrder): Promise<Run> {
  session.signal.throwIfAborted();
  const meter = new CpuMeter(peer.processes);
  const { elapsedMs, latenciesMs } = await peer.run(order);
  const { byRole, totalUs, foreignUs } = meter.read();
  const done = await peer.countDone();
  if (done !== order.tasks) {
    throw new Error(`${peer.name}: ${done} of ${order.tasks} tasks are stored as succeeded`);
  }
  const perTask = Object.entries(byRole).map(([role, us]) => [role, us / order.tasks] as const);
  return {
    peer: peer.name,
    tasks: order.tasks,
    perSecond: order.tasks / (elapsedMs / 1_000),
    latenciesMs,
    cpuUs: Object.fromEntries(perTask),
    cpuTotalUs: totalUs / order.tasks,
    residentMib: Object.fromEntries(
      peer.processes.map(({ name, pid }) => [name, Math.round(residentMib(pid))]),
    ),
    foreignCores: foreignUs / (elapsedMs * 1_000),
  };
}

/** Every peer once a round, in turns, so that all have the same minutes of the machine. */
export async function inRounds(
  rounds: number,
  peers: readonly Peer[],
  turn: (peer: Peer, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 1; round <= rounds; round++) {
    for (const peer of peers) await turn(peer, round);
  }
}

/** What is to be said of a run that others disturbed. */
export function noise({ foreignCores }: Run): string {
  return foreignCores > FOREIGN_CORES_MAX ? ` (others used ${foreignCores.toFixed(2)} cores)` : "";
}

/** A run as a JSON line. */
export function runLine(run: Run, about: JsonLine): JsonLine {
  const { p50, p99, p999, max } = latencyFigures(run.latenciesMs);
  return {
    ...about,
    peer: run.peer,
    tasks: run.tasks,
    perSecond: Math.round(run.perSecond),
    latencyMs: { p50: rounded(p50), p99: rounded(p99), p999: rounded(p999), max: rounded(max) },
    cpuUs: Object.fromEntries(
      Object.entries(run.cpuUs).map(([role, us]) => [role, rounded(us)] as const),
    ),
    cpuTotalUs: rounded(run.cpuTotalUs),
    residentMib: run.residentMib,
    foreignCores: rounded(run.foreignCores),
  };
}
