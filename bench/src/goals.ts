/** What the mesh has to reach, as ratios to its peers in the same run, and whether it did. */
import type { Subject } from "./options.ts";

/** Figures that goals are about; a subject that was not run leaves its own out. */
export interface Figures {
  /** Mesh to BullMQ, tasks a second. */
  throughputToBullmq?: number | undefined;
  /** Mesh to bare JetStream, tasks a second. */
  throughputToRaw?: number | undefined;
  /** Mesh to BullMQ, at the rate of the open loop. */
  p50ToBullmq?: number | undefined;
  p99ToBullmq?: number | undefined;
  /** CPU time of the leading coordinator a task, in microseconds. */
  coordinatorCpuUs?: number | undefined;
  /** No goal: how fast the machine is. CPU time of bare JetStream a task, in microseconds. */
  rawCpuUs?: number | undefined;
  /** Tasks a second with 1 000 nodes, to those with ten. */
  manyNodesToTen?: number | undefined;
}

/** What {@link Figures.rawCpuUs} was on the machine and the day the goals were set for. */
const RAW_CPU_US = 74;

interface Goal {
  readonly name: string;
  readonly subject: Subject;
  readonly figure: keyof Figures;
  readonly limit: number;
  /** Which side of the limit is the good one. */
  readonly sense: "at least" | "at most";
}

const GOALS: readonly Goal[] = [
  {
    name: "tasks/s, to BullMQ",
    subject: "throughput",
    figure: "throughputToBullmq",
    sense: "at least",
    limit: 1.4,
  },
  {
    name: "tasks/s, to bare JetStream",
    subject: "throughput",
    figure: "throughputToRaw",
    sense: "at least",
    limit: 0.55,
  },
  {
    name: "latency p50, to BullMQ",
    subject: "latency",
    figure: "p50ToBullmq",
    sense: "at most",
    limit: 0.75,
  },
  {
    name: "latency p99, to BullMQ",
    subject: "latency",
    figure: "p99ToBullmq",
    sense: "at most",
    limit: 0.9,
  },
  {
    name: "coordinator, CPU µs a task",
    subject: "throughput",
    figure: "coordinatorCpuUs",
    sense: "at most",
    limit: 45,
  },
  {
    name: "tasks/s of 1 000 nodes, to ten",
    subject: "growth",
    figure: "manyNodesToTen",
    sense: "at least",
    limit: 0.8,
  },
];

type Verdict = "pass" | "miss" | "not judged";

export interface Judged {
  readonly name: string;
  readonly wanted: string;
  readonly figure: number | undefined;
  readonly verdict: Verdict;
}

/** Judges the goals of the subjects that were run. A figure that is missing is not judged. */
export function judge(figures: Figures, subjects: readonly Subject[]): readonly Judged[] {
  return GOALS.filter(({ subject }) => subjects.includes(subject)).map((goal) => {
    const figure = figures[goal.figure];
    const wanted = `${goal.sense} ${goal.limit}`;
    return { name: goal.name, wanted, figure, verdict: verdictOf(goal, figure) };
  });
}

function verdictOf({ sense, limit }: Goal, figure: number | undefined): Verdict {
  if (figure === undefined || Number.isNaN(figure)) return "not judged";
  const good = sense === "at least" ? figure >= limit : figure <= limit;
  return good ? "pass" : "miss";
}

/** What to know of the machine when reading absolute figures. */
export function machineNote({ rawCpuUs }: Figures): readonly string[] {
  if (rawCpuUs === undefined) return [];
  const now = rawCpuUs.toFixed(0);
  return [
    `Bare JetStream took ${now} µs of CPU a task in this run; ${RAW_CPU_US} where the goals were set.`,
  ];
}

/** 0; 1 with `strict` when a goal was missed; 2 when one could not be judged. */
export function statusOf(judged: readonly Judged[], strict: boolean): number {
  if (judged.some(({ verdict }) => verdict === "not judged")) return 2;
  return strict && judged.some(({ verdict }) => verdict === "miss") ? 1 : 0;
}
