/** A hundred thousand tasks run at once: what does it cost to know of them? */
import { systemClock } from "@swarm-mesh/runtime";
import { measure, prepare, withMesh } from "../measure.ts";
import type { MeshPeer } from "../peers/mesh.ts";
import type { Session } from "../session.ts";
import { until } from "../until.ts";
import { KEPT } from "../workers/fake-node.ts";
import { type Curve, type Point, pointOf, pointsOf, restOf } from "./curve.ts";
import { Fleet } from "./fleet.ts";

/** The leader holds 100 000 at most: the last step leaves room for the tasks that go by. */
const STEPS = [100, 1_000, 10_000, 99_000];
const QUICK_STEPS = [100, 1_000];
/** Of each node; the most there may be. */
const SLOTS = 1_000;
const TASKS = 3_000;
const PROBES = { kind: "open", tasks: 100, ratePerSecond: 50 } as const;

/** Tasks are held by light nodes; beside them others run on a node of their own. */
export async function inFlightCurve(session: Session): Promise<Curve> {
  const steps = session.options.quick ? QUICK_STEPS : STEPS;
  const measured = await withMesh(session, async (peer) => {
    await prepare(session, peer, 1);
    const fleet = await Fleet.join(peer, {
      prefix: "holder",
      count: Math.ceil((steps.at(-1) ?? 0) / SLOTS),
      slots: SLOTS,
      capabilities: [KEPT],
      signal: session.signal,
    });
    return pointsOf(steps, session.signal, async (step) => {
      const startedAt = systemClock.elapsed();
      await hold(session, peer, fleet, step);
      const seconds = ((systemClock.elapsed() - startedAt) / 1_000).toFixed(1);
      session.report.progress(`growth: ${step} tasks running, after ${seconds} s`);
      return inFlightPoint(session, peer, step);
    });
  });
  return {
    name: "in-flight",
    title: "tasks running at light nodes; others go by on a node of their own",
    xName: "tasks running",
    latencyOf: `at ${PROBES.ratePerSecond}/s on another node`,
    ...measured,
  };
}

/** Submits until the fleet holds so many. */
async function hold(
  { options, signal }: Session,
  peer: MeshPeer,
  fleet: Fleet,
  wanted: number,
): Promise<void> {
  const missing = wanted - (await fleet.counts()).held;
  const order = { count: missing, capability: KEPT, payloadBytes: options.payload };
  await peer.client.call("flood", order);
  await until(`${wanted} tasks running`, async () => (await fleet.counts()).held >= wanted, signal);
}

async function inFlightPoint(session: Session, peer: MeshPeer, running: number): Promise<Point> {
  const { concurrency, payload: payloadBytes } = session.options;
  const run = await measure(session, peer, {
    kind: "closed",
    tasks: TASKS,
    concurrency,
    payloadBytes,
  });
  const probes = await measure(session, peer, { ...PROBES, payloadBytes });
  const rest = await restOf(peer.processes, session.signal);
  return pointOf(running, { fast: [run], slow: probes, rest }, peer.processes);
}
