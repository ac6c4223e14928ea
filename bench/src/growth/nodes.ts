/** A thousand nodes: does a task cost more because there are many to choose from? */
import { measure, type Run, runLine, withMesh } from "../measure.ts";
import type { MeshPeer } from "../peers/mesh.ts";
import type { Session } from "../session.ts";
import { median } from "../stats.ts";
import { type Curve, pointOf, pointsOf, restOf } from "./curve.ts";
import { Fleet } from "./fleet.ts";

/** Each step keeps the nodes before it. */
const STEPS = [1, 10, 100, 1_000];
const QUICK_STEPS = [1, 10, 50];
/** The step that the last one is compared with; it is measured again when the others have left. */
const FEW = 10;
const RUNS = 3;
const TASKS = 4_000;
const PROBES = { kind: "open", tasks: 100, ratePerSecond: 50 } as const;

export interface NodesCurve {
  readonly curve: Curve;
  /** Tasks a second with most nodes, to those with ten, taken before and after. `NaN` without. */
  readonly manyToFew: number;
}

/** Light nodes, each with a connection, a lease and slots for the whole load. */
export async function nodesCurve(session: Session): Promise<NodesCurve> {
  const steps = session.options.quick ? QUICK_STEPS : STEPS;
  const few: Run[] = [];
  const many: Run[] = [];
  const measured = await withMesh(session, async (peer) => {
    const fleets: Fleet[] = [];
    let count = 0;
    const taken = await pointsOf(steps, session.signal, async (step) => {
      session.report.progress(`growth: ${step} nodes`);
      fleets.push(await joinMore(session, peer, step, step - count));
      count = step;
      const { point, runs } = await nodesPoint(session, peer, step);
      if (step === FEW) few.push(...runs);
      if (step === steps.at(-1)) many.push(...runs);
      return point;
    });
    if (taken.failure !== undefined) return taken;
    session.report.progress(`growth: ${FEW} nodes again`);
    for (const fleet of fleets.slice(steps.indexOf(FEW) + 1)) await fleet.leave();
    few.push(...(await nodesPoint(session, peer, FEW)).runs);
    return taken;
  });
  const speed = (runs: readonly Run[]): number => median(runs.map(({ perSecond }) => perSecond));
  const curve: Curve = {
    name: "nodes",
    title: `nodes, ${session.options.concurrency} tasks in flight`,
    xName: "nodes",
    latencyOf: `at ${PROBES.ratePerSecond}/s`,
    ...measured,
  };
  return { curve, manyToFew: speed(many) / speed(few) };
}

function joinMore(session: Session, peer: MeshPeer, step: number, count: number): Promise<Fleet> {
  return Fleet.join(peer, {
    prefix: `step-${step}`,
    count,
    slots: session.options.concurrency,
    capabilities: ["noop"],
    signal: session.signal,
  });
}

async function nodesPoint(session: Session, peer: MeshPeer, nodes: number) {
  const { concurrency, payload: payloadBytes } = session.options;
  const order = { kind: "closed", tasks: TASKS, concurrency, payloadBytes } as const;
  // Not counted: whoever has just joined is still being talked about.
  await measure(session, peer, { ...order, tasks: TASKS / 2 });
  const runs: Run[] = [];
  while (runs.length < RUNS) {
    const run = await measure(session, peer, order);
    runs.push(run);
    session.report.measured(runLine(run, { subject: "growth", curve: "nodes", nodes }));
  }
  const probes = await measure(session, peer, { ...PROBES, payloadBytes });
  const rest = await restOf(peer.processes, session.signal);
  return { point: pointOf(nodes, { fast: runs, slow: probes, rest }, peer.processes), runs };
}
