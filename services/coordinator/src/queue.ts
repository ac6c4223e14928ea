/** How much waits, and for how long: asked of the store when somebody wants to know. */
import type { JetStreamManager } from "@nats-io/jetstream";
import {
  isCapability,
  Lane,
  MESH_RETRIES,
  MESH_TASKS,
  SUBMIT_ALL,
  submitSubject,
} from "@swarm-mesh/protocol";
import type { Clock } from "@swarm-mesh/runtime";
import type { Precedence } from "./backlog.ts";
import type { HeldTask, TasksInHand } from "./held-task.ts";

/** What a term has in hand. */
export interface Holding {
  /** Does it have everything that the leader before it had, and may it still act? */
  readonly settled: boolean;
  readonly tasks: TasksInHand;
  /** The last message of a lane that came, by its place in the stream. */
  readonly delivered: (capability: string, precedence: Precedence) => number;
}

/** Tasks of one capability and lane that wait, here or in the stream. */
interface Waiting {
  readonly capability: string;
  readonly lane: Lane;
  readonly count: number;
}

/** What waits, as the page of metrics shows it. */
export interface Queue {
  readonly waiting: readonly Waiting[];
  /** Tasks that wait for their next try: for its time, or for a node. */
  readonly retriesCount: number;
  /** Age of the oldest task that waits for its first try, in milliseconds; 0: none waits. */
  readonly oldestMs: number;
}

export interface QueueDeps {
  readonly manager: JetStreamManager;
  readonly clock: Clock;
}

/** Subjects whose oldest message is looked for; those with the most tasks come first. */
const LOOKED_AT_MAX = 32;

/** Reads what waits. Rejects when the store does not answer. */
export async function readQueue(deps: QueueDeps, holding: Holding): Promise<Queue> {
  const { streams } = deps.manager;
  const [submits, retries] = await Promise.all([
    streams.info(MESH_TASKS.name, { subjects_filter: SUBMIT_ALL }),
    streams.info(MESH_RETRIES.name),
  ]);
  const here = countHere(holding.tasks);
  const groups = new Map<string, Group>();
  for (const [subject, count] of Object.entries(submits.state.subjects ?? {})) {
    addSubject(groups, subject, count);
  }
  const waiting = [...groups.values()].flatMap((group): (Group & Waiting)[] => {
    const count = group.stored - (here.taken.get(keyOf(group.capability, group.lane)) ?? 0);
    // What is here and what is stored are not of the same moment.
    return count > 0 ? [{ ...group, count }] : [];
  });
  return {
    waiting,
    retriesCount: Math.max(0, retries.state.messages - here.retries),
    oldestMs: Math.max(0, deps.clock.now() - (await oldestAt(deps, holding, waiting, here))),
  };
}

interface Group {
  readonly capability: string;
  readonly lane: Lane;
  readonly subjects: string[];
  /** Messages in the stream; those of tasks that run are among them. */
  stored: number;
}

function addSubject(groups: Map<string, Group>, subject: string, count: number): void {
  const [, , , capability = "", last = "normal", ...rest] = subject.split(".");
  const lane = Lane.safeParse(last);
  // What no consumer fetches is answered by the sweep, and does not wait.
  if (!lane.success || rest.length > 0 || !isCapability(capability)) return;
  const key = keyOf(capability, lane.data);
  const group = groups.get(key) ?? { capability, lane: lane.data, subjects: [], stored: 0 };
  group.subjects.push(subject);
  group.stored += count;
  groups.set(key, group);
}

interface Here {
  /** Tasks of a submit that are with a node, or on their way there. */
  readonly taken: ReadonlyMap<string, number>;
  readonly retries: number;
  /** When the oldest of those that wait here was stored. */
  readonly oldestAtMs: number;
}

function countHere(tasks: TasksInHand): Here {
  const taken = new Map<string, number>();
  let retries = 0;
  let oldestAtMs = Number.POSITIVE_INFINITY;
  for (const held of tasks.values()) {
    const waits = held.phase === "waiting";
    if (held.precedence === "retry") {
      if (!waits) retries++;
    } else if (waits) {
      oldestAtMs = Math.min(oldestAtMs, held.storedAtMs);
    } else {
      const key = keyOf(held.capability, held.lane);
      taken.set(key, (taken.get(key) ?? 0) + 1);
    }
  }
  return { taken, retries, oldestAtMs };
}

/** When the oldest of all that wait was stored; infinite when none does. */
async function oldestAt(
  deps: QueueDeps,
  holding: Holding,
  waiting: readonly (Group & Waiting)[],
  here: Here,
): Promise<number> {
  const most = waiting.toSorted((a, b) => b.count - a.count);
  const subjects = most.flatMap(({ capability, lane, subjects }) =>
    subjects.map((subject) => ({ subject, after: holding.delivered(capability, lane) })),
  );
  const times = await Promise.all(
    subjects.slice(0, LOOKED_AT_MAX).map(({ subject, after }) => storedAt(deps, subject, after)),
  );
  return Math.min(here.oldestAtMs, ...times);
}

/** When the first message of the subject behind `after` was stored; infinite when there is none. */
async function storedAt({ manager }: QueueDeps, subject: string, after: number): Promise<number> {
  const query = { seq: after + 1, next_by_subj: subject };
  const message = await manager.direct.getMessage(MESH_TASKS.name, query);
  return message?.time.getTime() ?? Number.POSITIVE_INFINITY;
}

function keyOf(capability: string, lane: Lane): string {
  return submitSubject(capability, lane);
}

/** How many tasks are in each phase. */
export function phasesOf(tasks: TasksInHand): Readonly<Record<HeldTask["phase"], number>> {
  const phases = { waiting: 0, starting: 0, running: 0, left: 0 };
  for (const { phase } of tasks.values()) phases[phase]++;
  return phases;
}
