/** Task records of before the page was opened, in portions: the store holds a day of them. */
import type { JetStreamManager, StoredMsg } from "@nats-io/jetstream";
import { decode, TASKS_BUCKET, TaskRecord } from "@swarm-mesh/protocol";
import { readBatch } from "./reading.ts";

/** Called for each record; false: there is no more room. */
export type Take = (record: TaskRecord, revision: number) => boolean;

const STREAM = `KV_${TASKS_BUCKET.name}`;
/** Revisions read in one go, and their bytes: a record may hold a result of 1 MB. */
const PORTION = 1_000;
const PORTION_BYTES = 4 * 1024 * 1024;
/** Revisions that are caught up with after a lost link; what is older is found by reading back. */
const SINCE_MAX = 5_000;

/** Reads the portion before `before`; answers what is to be read before of next time. */
export async function readBackwards(
  manager: JetStreamManager,
  before: number,
  take: Take,
): Promise<number> {
  const from = Math.max(1, before - PORTION);
  for (let next = from; next < before; ) {
    const messages = await portion(manager, next, before - next);
    const last = messages.at(-1);
    for (const message of messages) {
      if (message.seq < before && !takeOne(message, take)) return from;
    }
    if (last === undefined) break;
    next = last.seq + 1;
  }
  return from;
}

/** Reads what was written since `from`, up to `to`. */
export async function readSince(
  manager: JetStreamManager,
  range: { readonly from: number; readonly to: number; readonly down: AbortSignal },
  take: Take,
): Promise<void> {
  const { from, to, down } = range;
  for (let next = Math.max(from + 1, to - SINCE_MAX); next <= to && !down.aborted; ) {
    const messages = await portion(manager, next, PORTION);
    const last = messages.at(-1);
    for (const message of messages) takeOne(message, take);
    if (last === undefined) return;
    next = last.seq + 1;
  }
}

async function portion(
  manager: JetStreamManager,
  seq: number,
  batch: number,
): Promise<readonly StoredMsg[]> {
  return readBatch(manager, STREAM, {
    ...{ seq, batch: Math.min(batch, PORTION), max_bytes: PORTION_BYTES },
    next_by_subj: ">",
  });
}

function takeOne(message: StoredMsg, take: Take): boolean {
  const record = decode(TaskRecord, message.data);
  return record.ok ? take(record.value, message.seq) : true;
}
