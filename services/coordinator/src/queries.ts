/** What any replica answers from the store: one record, or the newest ones. */

import type { JetStreamManager } from "@nats-io/jetstream";
import { type Bucket, bucketStream, isMarker, RefusedError } from "@swarm-mesh/bus";
import {
  decode,
  isTaskId,
  kvSubject,
  ListTasks,
  lastTokenOf,
  TASKS_BUCKET,
  type TaskList,
  TaskRecord,
} from "@swarm-mesh/protocol";
import type { Msg } from "nats";
import { readRecord } from "./records.ts";

/** Stored revisions looked at for one list, newest first; older records are left out. */
const LOOKED_AT_MAX = 20_000;
const BATCH = 1_000;

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

/**
 * Answers `mesh.tasks.list`: the newest records that match, newest change first. Reads the bucket
 * backwards in batches, so that its cost follows the limit and not the bucket.
 */
export async function listTasks(manager: JetStreamManager, message: Msg): Promise<TaskList> {
  const wanted = decode(ListTasks, message.data.length === 0 ? NO_FILTER : message.data);
  if (!wanted.ok) throw new RefusedError("bad_request", wanted.problem);
  const stream = bucketStream(TASKS_BUCKET);
  const { state } = await manager.streams.info(stream);
  const seen = new Set<string>();
  const tasks: TaskRecord[] = [];
  const oldest = Math.max(state.first_seq, state.last_seq - LOOKED_AT_MAX + 1);
  let next = state.last_seq;
  while (next >= oldest && tasks.length < wanted.value.limit) {
    const from = Math.max(oldest, next - BATCH + 1);
    for (const record of (await readBatch(manager, from, next - from + 1)).reverse()) {
      if (record === undefined || seen.has(record.id)) continue;
      seen.add(record.id);
      if (matches(record, wanted.value) && tasks.length < wanted.value.limit) tasks.push(record);
    }
    next = from - 1;
  }
  return { tasks, complete: next < state.first_seq };
}

const NO_FILTER = new TextEncoder().encode("{}");

async function readBatch(
  manager: JetStreamManager,
  from: number,
  count: number,
): Promise<(TaskRecord | undefined)[]> {
  const stream = bucketStream(TASKS_BUCKET);
  const records: (TaskRecord | undefined)[] = [];
  try {
    const batch = await manager.direct.getBatch(stream, {
      seq: from,
      batch: count,
      next_by_subj: kvSubject(TASKS_BUCKET.name, ">"),
    });
    for await (const message of batch) {
      if (message.seq >= from + count || isMarker(message.header)) continue;
      const decoded = decode(TaskRecord, message.data);
      records.push(decoded.ok ? decoded.value : undefined);
    }
  } catch {
    // An empty range is answered with an error; what was read until then is what there is.
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
