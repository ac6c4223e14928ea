/** What waits for each capability, lane by lane: from the streams' and consumers' own figures. */
import type { ConsumerInfo, JetStreamManager, StoredMsg } from "@nats-io/jetstream";
import {
  isNothingStored,
  MESH_RETRIES,
  MESH_TASKS,
  retrySubject,
  submitSubject,
  type TaskRecord,
  tokenOf,
} from "@swarm-mesh/protocol";
import { taskIdOf } from "@swarm-mesh/why";

/** In the order in which they are served; `retry` are tries that are due. */
export const LANES = ["retry", "high", "normal", "low"] as const;
export type LaneName = (typeof LANES)[number];

/** One lane of a capability. */
export interface LaneQueue {
  readonly lane: LaneName;
  /** Messages that are stored: waiting and running. */
  readonly stored: number;
  /** Of these, those that do not run. */
  readonly waiting: number;
  /** Handed out to the coordinators since the consumer was made; `undefined`: there is none. */
  readonly delivered: number | undefined;
  /** Its last place in the stream that was handed out; what lies behind it waits for certain. */
  readonly deliveredSeq: number;
}

/** What is stored for a capability. */
export interface Queue {
  readonly capability: string;
  readonly lanes: readonly LaneQueue[];
  readonly stored: number;
  readonly waiting: number;
}

/** What is stored for all capabilities. */
export interface Queues {
  readonly capabilities: ReadonlyMap<string, Queue>;
  /** Tries that wait for their time. */
  readonly delayed: number;
}

/**
 * Reads every queue. `running`: the records of all that runs; without them what the leader has in
 * hand counts as running, which a paused capability's few tasks are not.
 */
export async function readQueues(
  manager: JetStreamManager,
  running: readonly TaskRecord[] | undefined,
): Promise<Queues> {
  const [submits, retries, consumers] = await Promise.all([
    manager.streams.info(MESH_TASKS.name, { subjects_filter: ">" }),
    manager.streams.info(MESH_RETRIES.name, { subjects_filter: ">" }),
    readConsumers(manager),
  ]);
  const stored = storedOf({ ...submits.state.subjects, ...retries.state.subjects });
  for (const name of consumers.keys()) {
    const [, capability = ""] = name.split(" ");
    if (!stored.capabilities.has(capability)) stored.capabilities.set(capability, new Map());
  }
  const busy = running === undefined ? undefined : countRunning(running);
  const capabilities = new Map(
    [...stored.capabilities]
      .sort(([left], [right]) => left.localeCompare(right, "en"))
      .map(([capability, counts]) => {
        const lanes = LANES.map((lane) =>
          laneQueue(lane, {
            stored: counts.get(lane) ?? 0,
            consumer: consumers.get(`${lane} ${capability}`),
            running: busy === undefined ? undefined : (busy.get(`${lane} ${capability}`) ?? 0),
          }),
        );
        const sum = (of: (lane: LaneQueue) => number): number =>
          lanes.reduce((total, lane) => total + of(lane), 0);
        const queue: Queue = {
          capability,
          lanes,
          stored: sum((lane) => lane.stored),
          waiting: sum((lane) => lane.waiting),
        };
        return [capability, queue] as const;
      }),
  );
  return { capabilities, delayed: stored.delayed };
}

interface LaneCounts {
  readonly stored: number;
  readonly consumer: ConsumerInfo | undefined;
  readonly running: number | undefined;
}

function laneQueue(lane: LaneName, { stored, consumer, running }: LaneCounts): LaneQueue {
  // A task that was handed out between the two looks is in neither's way.
  const inHand = Math.min(stored, consumer?.num_ack_pending ?? 0);
  return {
    lane,
    stored,
    waiting: Math.max(0, stored - Math.min(inHand, running ?? inHand)),
    delivered: consumer?.delivered.consumer_seq,
    deliveredSeq: consumer?.delivered.stream_seq ?? 0,
  };
}

/** Consumers by lane and capability, as their filters tell them. */
async function readConsumers(
  manager: JetStreamManager,
): Promise<ReadonlyMap<string, ConsumerInfo>> {
  const found = new Map<string, ConsumerInfo>();
  for (const { name } of [MESH_TASKS, MESH_RETRIES]) {
    for await (const info of manager.consumers.list(name)) {
      const { filter_subject, filter_subjects } = info.config;
      const subject = filter_subject ?? filter_subjects?.[0] ?? "";
      found.set(`${laneOfSubject(subject)} ${tokenOf(subject, 3)}`, info);
    }
  }
  return found;
}

/** Sorts the subjects of the task streams by capability and lane. */
function storedOf(subjects: Readonly<Record<string, number>>): {
  readonly capabilities: Map<string, Map<LaneName, number>>;
  readonly delayed: number;
} {
  const capabilities = new Map<string, Map<LaneName, number>>();
  let delayed = 0;
  for (const [subject, count] of Object.entries(subjects)) {
    if (tokenOf(subject, 2) === "delayed") {
      delayed += count;
      continue;
    }
    const lanes = capabilities.get(tokenOf(subject, 3)) ?? new Map<LaneName, number>();
    const lane = laneOfSubject(subject);
    lanes.set(lane, (lanes.get(lane) ?? 0) + count);
    capabilities.set(tokenOf(subject, 3), lanes);
  }
  return { capabilities, delayed };
}

function laneOfSubject(subject: string): LaneName {
  if (tokenOf(subject, 2) === "retry") return "retry";
  return LANES.find((lane) => lane === tokenOf(subject, 4)) ?? "normal";
}

function countRunning(running: readonly TaskRecord[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const task of running) {
    // A task that failed once is held by the retry's message from then on; one that moved is not.
    const key = `${task.tries.length > 0 ? "retry" : task.lane} ${task.capability}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/** Messages at the front of a lane that are looked at for one that does not run. */
const LOOKED_AT_MAX = 32;

/**
 * When the first task that waits in the lane was stored, ms since the epoch; `undefined`: none, or
 * this key may not read the queue. `isRunning` says of a task's id whether it runs; without it all that
 * was handed out does.
 */
export async function oldestWaiting(
  manager: JetStreamManager,
  capability: string,
  lane: LaneQueue,
  isRunning?: (id: string) => boolean,
): Promise<number | undefined> {
  if (lane.waiting === 0) return undefined;
  const times = await Promise.all(
    subjectsOf(capability, lane.lane).map((subject) =>
      firstOn(manager, subject, lane.deliveredSeq, isRunning),
    ),
  );
  const known = times.filter((time) => time !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

async function firstOn(
  manager: JetStreamManager,
  subject: string,
  deliveredSeq: number,
  isRunning: ((id: string) => boolean) | undefined,
): Promise<number | undefined> {
  const stream = tokenOf(subject, 2) === "retry" ? MESH_RETRIES.name : MESH_TASKS.name;
  let from = 1;
  for (let looked = 0; looked < LOOKED_AT_MAX && isRunning !== undefined; looked++) {
    const message = await nextMessage(manager, { stream, subject, from });
    if (message === undefined) return undefined;
    if (message.seq > deliveredSeq || !isRunning(taskIdOf(message))) return message.time.getTime();
    from = message.seq + 1;
  }
  // Many run, or nobody knows which: what was never handed out waits for certain.
  const behind = { stream, subject, from: deliveredSeq + 1 };
  return (await nextMessage(manager, behind))?.time.getTime();
}

async function nextMessage(
  manager: JetStreamManager,
  at: { readonly stream: string; readonly subject: string; readonly from: number },
): Promise<StoredMsg | undefined> {
  try {
    const query = { seq: at.from, next_by_subj: at.subject };
    return (await manager.direct.getMessage(at.stream, query)) ?? undefined;
  } catch (error) {
    if (isNothingStored(error)) return undefined;
    throw error;
  }
}

/** The subjects on which what waits in a lane is stored. */
export function subjectsOf(capability: string, lane: LaneName): readonly string[] {
  switch (lane) {
    case "retry":
      return [retrySubject(capability)];
    case "high":
    case "low":
      return [submitSubject(capability, lane)];
    case "normal":
      return [submitSubject(capability), submitSubject(capability, "normal")];
  }
}
