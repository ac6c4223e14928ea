/** What grows, and what must not grow with it: CPU time a task, memory, latency. */
import type { Figures } from "../goals.ts";
import { backlogCurve } from "../growth/backlog.ts";
import { type Curve, lineOf, tableOf } from "../growth/curve.ts";
import { inFlightCurve } from "../growth/in-flight.ts";
import { nodesCurve } from "../growth/nodes.ts";
import { plot } from "../growth/plot.ts";
import type { Session } from "../session.ts";

export async function growth(session: Session, figures: Figures): Promise<void> {
  const backlog = await backlogCurve(session);
  tell(session, backlog);
  const { curve: nodes, manyToFew } = await nodesCurve(session);
  tell(session, nodes);
  // A quick run has no thousand nodes to say anything about.
  if (!session.options.quick) figures.manyNodesToTen = manyToFew;
  const inFlight = await inFlightCurve(session);
  tell(session, inFlight);
  const failure = [backlog, nodes, inFlight].find((curve) => curve.failure !== undefined)?.failure;
  if (failure !== undefined) throw failure;
}

function tell({ options, report }: Session, curve: Curve): void {
  report.result(tableOf(curve), lineOf(curve));
  if (options.plot) report.progress(`drawn: ${plot(curve)}`);
}
