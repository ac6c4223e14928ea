/** What is noted at each step of something that grows. */
import { type CpuByRole, type ProcessRef, type Role, residentMib } from "../cpu.ts";
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
}

/** The point of some runs as fast as it goes and one by the clock. */
export function pointOf(
  x: number,
  fast: readonly Run[],
  slow: Run,
  processes: readonly ProcessRef[],
): Point {
  const roles = [...new Set(fast.flatMap(({ cpuUs }) => Object.keys(cpuUs) as Role[]))];
  const { p50, p99 } = latencyFigures(slow.latenciesMs);
  return {
    x,
    perSecond: median(fast.map(({ perSecond }) => perSecond)),
    cpuUs: Object.fromEntries(
      roles.map((role) => [role, median(fast.map(({ cpuUs }) => cpuUs[role] ?? 0))] as const),
    ),
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
      ...["coordinator MiB", "server MiB", "others MiB", "p50 ms", "p99 ms"],
    ],
    rows: curve.points.map((point): readonly Cell[] => [
      point.x.toLocaleString("en"),
      Math.round(point.perSecond),
      ...[point.cpuUs.coordinator, point.cpuUs.server, point.cpuUs.node, point.cpuUs.other],
      ...[point.coordinatorMib, point.serverMib, point.othersMib].map(Math.round),
      ...[point.p50, point.p99],
    ]),
    notes: [
      "µs: CPU time a task, whatever else the process does meanwhile counted in.",
      `p50, p99: submit to result, ${curve.latencyOf}.`,
    ],
  };
}

/** A curve as a JSON line. */
export function lineOf({ name, points }: Curve) {
  return {
    subject: "growth",
    curve: name,
    points: points.map(({ x, cpuUs, ...figures }) => ({
      x,
      cpuUs: roundedAll(cpuUs),
      ...roundedAll(figures),
    })),
  };
}

function roundedAll(figures: Readonly<Record<string, number>>) {
  return Object.fromEntries(
    Object.entries(figures).map(([name, value]) => [name, rounded(value)] as const),
  );
}
