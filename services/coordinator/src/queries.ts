/** What any replica answers from the store: one record, or the newest ones. */

import type { JetStreamManager } from "@nats-io/jetstream";
import {
  ask,
  type Bucket,
  bucketStream,
  isMarker,
  RefusedError,
  type Requester,
} from "@swarm-mesh/bus";
import {
  decode,
  isTaskId,
  kvSubject,
  ListTasks,
  lastTokenOf,
  RUNNING_SUBJECT,
  TASKS_BUCKET,
  TaskList,
  TaskRecord,
} from "@swarm-mesh/protocol";
import type { Msg } from "nats";
import type { Holding } from "./queue.ts";
import { readRecord } from "./records.ts";

/** Stored revisions looked at for one list, newest first; older records are left out. */
const LOOKED_AT_MAX = 20_000;
const BATCH = 1_000;
/** The server ends a batch at so many bytes; the rest is asked for again. */
const BATCH_BYTES = 8 * 1024 * 1024;
/** How long the leader may take to say what runs; then the store is read. */
const LEADER_TIMEOUT_MS = 1_000;
/** The status of a direct read that found nothing. */
const NOT_FOUND = 404;

/** Answers `mesh.tasks.get.<task>`. */
export async function getTask(bucket: Bucket, message: Msg): Promise<TaskRecord> {
  const taskId = lastTokenOf(message.subject);
  if (!isTaskId(taskId)) throw new RefusedError("bad_request", "that is no task id");
  const { record } = await readRecord(bucket, taskId);
  if (record === undefined) {
    throw new RefusedError(
      "not_found",
      `${taskId} has no record: it waits, or was never submitted`,
    );
  }
  return record;
}

/** What a list is made from. */
export interface ListDeps {
  readonly manager: JetStreamManager;
  readonly requester: Requester;
  /** What this replica's term has in hand; `undefined`: it does not lead. */
  readonly holding: () => Holding | undefined;
}

/**
 * Answers `mesh.tasks.list`: the newest records that match, newest change first. What runs the leader
 * has in hand, so all of it is known; the rest is read from the store.
 */
export async function listTasks(deps: ListDeps, message: Msg): Promise<TaskList> {
  const wanted = wantedOf(message);
  if (wanted.status === "running") {
    // A task that runs for an hour has an old record, behind those of all that have ended since.
    const running = runningIn(deps.holding(), wanted) ?? (await askLeader(deps.requester, wanted));
    if (running !== undefined) return running;
  }
  return listStored(deps.manager, wanted);
}

/** Answers `mesh.coordinator.running`, from the leader, once it knows what the old one had. */
export function listRunning(holding: Holding, message: Msg): TaskList {
  const running = runningIn(holding, wantedOf(message));
  if (running === undefined)
    throw new RefusedError("not_leader", "what runs is not known yet", true);
  return running;
}

function wantedOf(message: Msg): ListTasks {
  const wanted = decode(ListTasks, message.data.length === 0 ? NO_FILTER : message.data);
  if (!wanted.ok) throw new RefusedError("bad_request", wanted.problem);
  return wanted.value;
}

function runningIn(holding: Holding | undefined, wanted: ListTasks): TaskList | undefined {
  if (holding?.settled !== true) return undefined;
  const tasks = [...holding.tasks.values()]
    .filter(({ record }) => record?.status === "running" && matches(record, wanted))
    .sort((left, right) => right.revision - left.revision)
    .slice(0, wanted.limit)
    .flatMap(({ record }) => record ?? []);
  return { tasks, complete: true };
}

async function askLeader(requester: Requester, wanted: ListTasks): Promise<TaskList | undefined> {
  const options = { timeoutMs: LEADER_TIMEOUT_MS };
  const answer = await ask(requester, RUNNING_SUBJECT, wanted, TaskList, options);
  return answer.kind === "ok" ? answer.value : undefined;
}

/** Reads the bucket backwards in batches, so that the cost follows the limit and not the bucket. */
async function listStored(manager: JetStreamManager, wanted: ListTasks): Promise<TaskList> {
  const { state } = await manager.streams.info(bucketStream(TASKS_BUCKET));
  const seen = new Set<string>();
  const tasks: TaskRecord[] = [];
  const oldest = Math.max(state.first_seq, state.last_seq - LOOKED_AT_MAX + 1);
  let next = state.last_seq;
  while (next >= oldest && tasks.length < wanted.limit) {
    const from = Math.max(oldest, next - BATCH + 1);
    for (const record of (await readRange(manager, from, next)).reverse()) {
      if (seen.has(record.id)) continue;
      seen.add(record.id);
      if (matches(record, wanted) && tasks.length < wanted.limit) tasks.push(record);
    }
    next = from - 1;
  }
  return { tasks, complete: next < state.first_seq };
}

const NO_FILTER = new TextEncoder().encode("{}");

/** The records between two places, oldest first. Rejects when the store does not answer. */
async function readRange(
  manager: JetStreamManager,
  from: number,
  to: number,
): Promise<TaskRecord[]> {
  const records: TaskRecord[] = [];
  for (let next = from; next <= to; ) {
    let last: number | undefined;
    try {
      const batch = await manager.direct.getBatch(bucketStream(TASKS_BUCKET), {
        seq: next,
        batch: to - next + 1,
        max_bytes: BATCH_BYTES,
        next_by_subj: kvSubject(TASKS_BUCKET.name, ">"),
      });
      for await (const message of batch) {
        if (message.seq > to) return records;
        last = message.seq;
        if (isMarker(message.header)) continue;
        const decoded = decode(TaskRecord, message.data);
        if (decoded.ok) records.push(decoded.value);
      }
    } catch (error) {
      // An empty range is answered with an error.
      if (!(error instanceof Error && "code" in error && error.code === NOT_FOUND)) throw error;
    }
    if (last === undefined) return records;
    next = last + 1;
  }
  return records;
}

function matches(record: TaskRecord, wanted: ListTasks): boolean {
  return (
    (wanted.status === undefined || record.status === wanted.status) &&
    (wanted.capability === undefined || record.capability === wanted.capability) &&
    (wanted.node === undefined || record.node === wanted.node)
  );
}
