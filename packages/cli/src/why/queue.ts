/** What is stored in the task streams: one task's message, and a capability's lanes. */
import type { JetStreamManager, StoredMsg } from "@nats-io/jetstream";
import {
  delayedSubject,
  MESH_RETRIES,
  MESH_TASKS,
  RETRY_ALL,
  retrySubject,
  SUBMIT_ALL,
  type TaskRecord,
  tokenOf,
} from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import {
  type LaneFact,
  laneOf,
  type QueuedFact,
  queuedFact,
  type SearchFact,
  taskIdOf,
} from "@swarm-mesh/why";
import { LANES, subjectsOf } from "../queues.ts";
import { backlogOf } from "../status.ts";
import { getMessage, oldestFirst } from "../stored.ts";

/** Messages of one lane whose records are looked up. */
const LOOKED_AT_MAX = 200;

/** May this key read the messages of tasks? A viewer's may not. */
export async function mayReadQueue(manager: JetStreamManager): Promise<boolean> {
  try {
    await lastOf(manager, delayedSubject("any"));
    return true;
  } catch (error) {
    if (isDenied(error) || (error instanceof Error && isDenied(error.cause))) return false;
    throw error;
  }
}

function isDenied(error: unknown): boolean {
  return error instanceof Error && error.name === "PermissionViolationError";
}

/** What was found of a task's message, and how it was looked for. */
export interface Found {
  readonly queued: QueuedFact | undefined;
  readonly search: SearchFact;
}

const NOTHING: SearchFact = { complete: true, lookedAt: 0, permitted: true };

/**
 * Looks for a task's message. Only the sequence is an index, so an id of the caller's own is looked
 * for from the front of the queue, for at most `budgetMs`.
 */
export async function findQueued(
  manager: JetStreamManager,
  id: string,
  options: { readonly record: TaskRecord | undefined; readonly budgetMs: number },
): Promise<Found> {
  const { record, budgetMs } = options;
  const byPlace = await oneMessage(manager, MESH_TASKS.name, Number(/^s(\d{1,15})$/.exec(id)?.[1]));
  if (byPlace !== undefined && taskIdOf(byPlace) === id) {
    return { queued: queuedFact(byPlace, MESH_TASKS.name), search: NOTHING };
  }
  const delayed = await lastOf(manager, delayedSubject(id));
  if (delayed !== undefined) {
    return { queued: queuedFact(delayed, MESH_RETRIES.name), search: NOTHING };
  }
  const deadline = systemClock.elapsed() + budgetMs;
  // A task that has run before is held by a retry, or still by its submit.
  const places = [
    {
      stream: MESH_RETRIES.name,
      subject: record === undefined ? RETRY_ALL : retrySubject(record.capability),
    },
    { stream: MESH_TASKS.name, subject: SUBMIT_ALL },
  ];
  let lookedAt = 0;
  for (const { stream, subject } of places) {
    for await (const message of oldestFirst(manager, { stream, subject })) {
      if (taskIdOf(message) === id) {
        return { queued: queuedFact(message, stream), search: { ...NOTHING, lookedAt } };
      }
      lookedAt++;
      if (systemClock.elapsed() > deadline) {
        return { queued: undefined, search: { complete: false, lookedAt, permitted: true } };
      }
    }
  }
  return { queued: undefined, search: { complete: true, lookedAt, permitted: true } };
}

export interface LanesOptions {
  /** Records of what runs, of any capability; `undefined`: not known. */
  readonly running: readonly TaskRecord[] | undefined;
  /** May this key look at messages, too? */
  readonly mayRead: boolean;
  /** Does the task's record, or that it has none, say that it waits? */
  readonly isWaiting: (id: string) => Promise<boolean>;
}

/** What is stored of a capability, lane by lane; lanes that hold nothing are left out. */
export async function readLanes(
  manager: JetStreamManager,
  capability: string,
  options: LanesOptions,
): Promise<readonly LaneFact[]> {
  const [submits, retries] = await Promise.all([
    manager.streams.info(MESH_TASKS.name, { subjects_filter: SUBMIT_ALL }),
    manager.streams.info(MESH_RETRIES.name, { subjects_filter: retrySubject(capability) }),
  ]);
  const subjects = { ...submits.state.subjects, ...retries.state.subjects };
  const backlog = backlogOf(subjects, undefined).capabilities;
  const stored = backlog.find((one) => one.capability === capability)?.stored ?? {};
  const running = options.running?.filter((task) => task.capability === capability);
  const lanes: LaneFact[] = [];
  for (const lane of LANES) {
    const count = stored[lane] ?? 0;
    if (count === 0) continue;
    const here = running?.filter((task) => laneOf(task) === lane).length;
    const estimate = here === undefined ? undefined : Math.max(0, count - here);
    const read = options.mayRead
      ? await readLane(manager, subjectsOf(capability, lane), {
          running: running ?? [],
          isWaiting: options.isWaiting,
        })
      : NOT_READ;
    const waiting = read.waiting ?? estimate;
    lanes.push({ lane, stored: count, waiting, oldestAtMs: read.oldestAtMs });
  }
  return lanes;
}

const NOT_READ = { waiting: undefined, oldestAtMs: undefined };

/**
 * The tasks of a lane that wait: when the first was stored, and their number when there are few. The
 * message of a task that was cancelled before it ran stays until its capability is pulled again.
 */
async function readLane(
  manager: JetStreamManager,
  subjects: readonly string[],
  {
    running,
    isWaiting,
  }: { readonly running: readonly TaskRecord[]; readonly isWaiting: LanesOptions["isWaiting"] },
): Promise<Pick<LaneFact, "waiting" | "oldestAtMs">> {
  const ids = new Set(running.map(({ id }) => id));
  let oldestAtMs: number | undefined;
  let waiting = 0;
  let lookedAt = 0;
  for (const subject of subjects) {
    const stream = tokenOf(subject, 2) === "retry" ? MESH_RETRIES.name : MESH_TASKS.name;
    for await (const message of oldestFirst(manager, { stream, subject })) {
      if (lookedAt >= LOOKED_AT_MAX) return { waiting: undefined, oldestAtMs };
      const id = taskIdOf(message);
      if (ids.has(id)) continue;
      lookedAt++;
      if (!(await isWaiting(id))) continue;
      const at = message.time.getTime();
      oldestAtMs = Math.min(oldestAtMs ?? at, at);
      waiting++;
    }
  }
  return { waiting, oldestAtMs };
}

async function oneMessage(
  manager: JetStreamManager,
  stream: string,
  seq: number,
): Promise<StoredMsg | undefined> {
  if (!(seq > 0)) return undefined;
  return getMessage(manager, stream, { seq });
}

function lastOf(manager: JetStreamManager, subject: string): Promise<StoredMsg | undefined> {
  return getMessage(manager, MESH_RETRIES.name, { last_by_subj: subject });
}
