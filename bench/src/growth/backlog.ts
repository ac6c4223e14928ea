/** A million tasks wait: what does each one cost, and does one more have to wait for them? */
import { openManager } from "@swarm-mesh/bus";
import { MESH_TASKS } from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import { CpuMeter } from "../cpu.ts";
import { measure, prepare, withMesh } from "../measure.ts";
import type { MeshPeer } from "../peers/mesh.ts";
import type { Session } from "../session.ts";
import { latencyFigures } from "../stats.ts";
import { until } from "../until.ts";
import { type Curve, mapRoles, memoryOf, type Point, pointsOf, restOf } from "./curve.ts";
import { Fleet } from "./fleet.ts";

const STEPS = [1_000, 10_000, 100_000, 1_000_000];
const QUICK_STEPS = [1_000, 10_000];
/** Most that is drained of a backlog to see how fast it goes. */
const DRAINED_MAX = 5_000;
/** Tasks by the clock, of a capability of their own, for the latency. */
const PROBES = { kind: "open", tasks: 150, ratePerSecond: 75 } as const;

/** Tasks wait that nobody can take; then a node comes that can, and drains some of them. */
export async function backlogCurve(session: Session): Promise<Curve> {
  const steps = session.options.quick ? QUICK_STEPS : STEPS;
  const measured = await withMesh(session, async (peer) => {
    await prepare(session, peer, 1);
    return pointsOf(steps, session.signal, (step) => {
      session.report.progress(`growth: backlog of ${step}`);
      return backlogPoint(session, peer, step);
    });
  });
  return {
    name: "backlog",
    title: "tasks waiting; some are drained by 64 slots, others go by on a node of their own",
    xName: "tasks waiting",
    latencyOf: `at ${PROBES.ratePerSecond}/s on another node, while they wait`,
    ...measured,
  };
}

async function backlogPoint(session: Session, peer: MeshPeer, waiting: number): Promise<Point> {
  const { concurrency, payload: payloadBytes } = session.options;
  await store(session, peer, waiting);
  const probes = await measure(session, peer, { ...PROBES, payloadBytes });
  const { p50, p99 } = latencyFigures(probes.latenciesMs);
  const restPercent = await restOf(peer.processes, session.signal);
  const memory = memoryOf(peer.processes);
  const fleet = await Fleet.join(peer, {
    prefix: `drain-${waiting}`,
    count: 1,
    slots: concurrency,
    capabilities: ["later"],
    signal: session.signal,
  });
  const { tasks, elapsedMs, meter } = await drain(session, peer, {
    fleet,
    wanted: Math.min(DRAINED_MAX, waiting * 0.9),
  });
  const { byRole } = meter.read();
  await fleet.leave();
  return {
    x: waiting,
    perSecond: tasks / (elapsedMs / 1_000),
    cpuUs: mapRoles(byRole, (us) => us / tasks),
    restPercent,
    ...memory,
    p50,
    p99,
  };
}

/** Submits until so many wait. The flood has no answer for each: what was lost of it is sent again. */
async function store({ options, signal }: Session, peer: MeshPeer, waiting: number): Promise<void> {
  await until(
    `${waiting} tasks waiting`,
    async () => {
      const count = waiting - (await messagesIn(peer));
      if (count <= 0) return true;
      const order = { count, capability: "later", payloadBytes: options.payload };
      await peer.client.call("flood", order);
      return false;
    },
    signal,
  );
}

/** Tasks waiting and running. */
async function messagesIn(peer: MeshPeer): Promise<number> {
  const manager = await openManager(peer.admin);
  return (await manager.streams.info(MESH_TASKS.name)).state.messages;
}

/** Watches the fleet until it has done some; the meter runs over exactly that time. */
async function drain(
  { signal }: Session,
  peer: MeshPeer,
  { fleet, wanted }: { readonly fleet: Fleet; readonly wanted: number },
) {
  const before = (await fleet.counts()).done;
  const meter = new CpuMeter(peer.processes);
  const startedAt = systemClock.elapsed();
  let tasks = 0;
  await until(
    `${wanted} tasks drained`,
    async () => {
      tasks = (await fleet.counts()).done - before;
      return tasks >= wanted - before;
    },
    signal,
  );
  return { tasks, elapsedMs: systemClock.elapsed() - startedAt, meter };
}
