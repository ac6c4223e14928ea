/** What is noted at each step of something that grows. */
import { systemClock } from "@swarm-mesh/runtime";
import { type CpuByRole, CpuMeter, type ProcessRef, type Role, residentMib } from "../cpu.ts";
import type { Run } from "../measure.ts";
import type { Cell, TableContent } from "../report.ts";
import { rounded } from "../report.ts";
import { latencyFigures, median } from "../stats.ts";

export interface Point {
  /** How much there is of what grows. */
  readonly x: number;
  readonly perSecond: number;
  /** Microseconds a task. */
  readonly cpuUs: CpuByRole;
  /** CPU time while nothing is submitted, in percent of a core. */
  readonly restPercent: CpuByRole;
  readonly coordinatorMib: number;
  readonly serverMib: number;
  /** Of the other services together. */
  readonly othersMib: number;
  /** Submit to result of the tasks that were measured, in milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

export interface Curve {
  /** Name of its file. */
  readonly name: string;
  readonly title: string;
  /** What grows, with its unit. */
  readonly xName: string;
  /** Under which load the latency was taken. */
  readonly latencyOf: string;
  readonly points: readonly Point[];
  /** Why it ends before the last step. */
  readonly failure: Error | undefined;
}

/** Takes the point of each step, until one fails: what was measured before it is worth telling. */
export async function pointsOf(
  steps: readonly number[],
  signal: AbortSignal,
  pointAt: (step: number) => Promise<Point>,
): Promise<Pick<Curve, "points" | "failure">> {
  const points: Point[] = [];
  for (const step of steps) {
    try {
      points.push(await pointAt(step));
    } catch (error) {
      signal.throwIfAborted();
      const { message } = error instanceof Error ? error : new Error(String(error));
      return { points, failure: new Error(`at ${step.toLocaleString("en")}: ${message}`) };
    }
  }
  return { points, failure: undefined };
}

/** One renewal of every node's lease comes into it, and two of each leader's. */
const REST_MS = 2_000;

/** What the processes do by themselves: leases, watches, sweeps. */
export async function restOf(
  processes: readonly ProcessRef[],
  signal: AbortSignal,
): Promise<CpuByRole> {
  const meter = new CpuMeter(processes);
  const startedAt = systemClock.elapsed();
  await systemClock.sleep(REST_MS, signal);
  signal.throwIfAborted();
  const elapsedUs = (systemClock.elapsed() - startedAt) * 1_000;
  return mapRoles(meter.read().byRole, (us) => (100 * us) / elapsedUs);
}

/** The point of some runs as fast as it goes, one by the clock, and a rest. */
export function pointOf(
  x: number,
  runs: { readonly fast: readonly Run[]; readonly slow: Run; readonly rest: CpuByRole },
  processes: readonly ProcessRef[],
): Point {
  const { fast, slow, rest } = runs;
  const roles = [...new Set(fast.flatMap(({ cpuUs }) => Object.keys(cpuUs) as Role[]))];
  const { p50, p99 } = latencyFigures(slow.latenciesMs);
  return {
    x,
    perSecond: median(fast.map(({ perSecond }) => perSecond)),
    cpuUs: Object.fromEntries(
      roles.map((role) => [role, median(fast.map(({ cpuUs }) => cpuUs[role] ?? 0))] as const),
    ),
    restPercent: rest,
    ...memoryOf(processes),
    p50,
    p99,
  };
}

export function memoryOf(processes: readonly ProcessRef[]) {
  const of = (role: Role): number =>
    processes
      .filter((process) => process.role === role)
      .reduce((sum, { pid }) => sum + residentMib(pid), 0);
  return { coordinatorMib: of("coordinator"), serverMib: of("server"), othersMib: of("other") };
}

export function tableOf(curve: Curve): TableContent {
  return {
    title: `growth: ${curve.title}`,
    head: [
      ...[curve.xName, "tasks/s", "coordinator µs", "server µs", "node µs", "other µs"],
      ...["rest %", "coordinator MiB", "server MiB", "others MiB", "p50 ms", "p99 ms"],
    ],
    rows: curve.points.map((point): readonly Cell[] => [
      point.x.toLocaleString("en"),
      Math.round(point.perSecond),
      ...[point.cpuUs.coordinator, point.cpuUs.server, point.cpuUs.node, point.cpuUs.other],
      controlPlane(point.restPercent),
      ...[point.coordinatorMib, point.serverMib, point.othersMib].map(Math.round),
      ...[point.p50, point.p99],
    ]),
    notes: [
      ...(curve.failure === undefined ? [] : [`Ends early. ${curve.failure.message}`]),
      "µs: CPU time a task, whatever else the process does meanwhile counted in.",
      "rest: CPU of server and services while nothing is submitted, in percent of a core.",
      `p50, p99: submit to result, ${curve.latencyOf}.`,
    ],
  };
}

/** What is left without the load and those who run it. */
function controlPlane({ coordinator = 0, server = 0, other = 0 }: CpuByRole): number {
  return coordinator + server + other;
}

/** Each role's figure, changed. */
export function mapRoles(figures: CpuByRole, change: (figure: number) => number): CpuByRole {
  return Object.fromEntries(
    Object.entries(figures).map(([role, figure]) => [role, change(figure)] as const),
  );
}

/** A curve as a JSON line. */
export function lineOf({ name, points, failure }: Curve) {
  return {
    subject: "growth",
    curve: name,
    failure: failure?.message,
    points: points.map(({ x, cpuUs, restPercent, ...figures }) => ({
      x,
      cpuUs: roundedAll(cpuUs),
      restPercent: roundedAll(restPercent),
      ...roundedAll(figures),
    })),
  };
}

function roundedAll(figures: Readonly<Record<string, number>>) {
  return Object.fromEntries(
    Object.entries(figures).map(([name, value]) => [name, rounded(value)] as const),
  );
}
