/** What the simulated handlers do: work for a while, save how far they are, and fail when the plan says so. */
import {
  AbortedError,
  FinalError,
  type TaskContext,
  type TaskHandler,
} from "../../packages/node/src/handler.ts";
import type { TaskPlan } from "./plan.ts";
import type { Host } from "./world.ts";

/** What a handler saves and returns; `step` only grows with the task's work. */
export interface Work {
  readonly step: number;
  readonly attempt: number;
  readonly node: string;
}

export function handlerOf(host: Host, incarnation: () => number): TaskHandler {
  return { run: (context) => work(host, context, incarnation()) };
}

async function work(host: Host, context: TaskContext, incarnation: number): Promise<Work> {
  const { judge, plan } = host.world;
  const { id, attempt } = context;
  const task = plan.task(id);
  const pid = host.process.starts;
  const saved = context.saved === undefined ? undefined : (context.savedValue() as Work);
  const from = saved?.step ?? 0;
  judge.started({ task: id, attempt, node: host.name, incarnation, pid, from });
  try {
    const step = await steps(host, context, { task, from });
    if (attempt <= task.failures) throw new Error("fails as planned");
    if (task.endsBadly) throw new FinalError("ends badly as planned");
    judge.ended({ task: id, attempt, pid, how: isUnwanted(context) ? "aborted" : "ok" });
    return { step, attempt, node: host.name };
  } catch (error) {
    const wasStopped = error === ABORTED || isUnwanted(context);
    judge.ended({ task: id, attempt, pid, how: wasStopped ? "aborted" : "failed" });
    throw error;
  }
}

const ABORTED = new Error("aborted");

/** Was it told to stop, and went on all the same? A draining node takes what it returns. */
function isUnwanted({ signal }: TaskContext): boolean {
  const reason: unknown = signal.reason;
  return reason instanceof AbortedError && reason.code !== "draining";
}

/** Does the steps that are left; how far it is then. */
async function steps(
  host: Host,
  context: TaskContext,
  { task, from }: { readonly task: TaskPlan; readonly from: number },
): Promise<number> {
  let step = from;
  while (step < task.steps) {
    await host.process.clock.sleep(task.stepMs);
    if (context.signal.aborted && !task.ignoresSignal) throw ABORTED;
    step++;
    if (task.saves) saveInPassing(context, { step, attempt: context.attempt, node: host.name });
    if (task.reports) context.progress(step);
  }
  return step;
}

/** A save that fails is no reason to stop; the one before it stands. */
function saveInPassing(context: TaskContext, state: Work): void {
  context.checkpoint(state).catch(() => undefined);
}
