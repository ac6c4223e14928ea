/** Single looks into the stores, for what is not followed. */
import type { DirectBatchOptions, JetStreamManager, StoredMsg } from "@nats-io/jetstream";
import {
  deadSubject,
  decode,
  delayedSubject,
  isNothingStored,
  kvSubject,
  MESH_DEAD,
  MESH_EVENTS,
  MESH_RETRIES,
  MESH_TASKS,
  nodeEventSubject,
  SUBMIT_ALL,
  TASKS_BUCKET,
  TaskRecord,
} from "@swarm-mesh/protocol";
import {
  type EventFact,
  eventFact,
  type LetterFact,
  letterFact,
  type QueuedFact,
  queuedFact,
  type SearchFact,
  taskIdOf,
} from "@swarm-mesh/why";

/** Messages of the queue that are looked at for a task, and how many, or bytes, at a time. */
const SEARCHED_MAX = 5_000;
const PORTION = 500;
const PORTION_BYTES = 4 * 1_024 * 1_024;

type Manager = JetStreamManager;

/** The record as the store has it; `undefined`: there is none. */
export async function readRecord(manager: Manager, id: string): Promise<TaskRecord | undefined> {
  const message = await read(manager, `KV_${TASKS_BUCKET.name}`, {
    last_by_subj: kvSubject(TASKS_BUCKET.name, id),
  });
  const record = message === undefined ? undefined : decode(TaskRecord, message.data);
  return record?.ok === true ? record.value : undefined;
}

/** The dead letter of a task, without its body. */
export async function readLetter(manager: Manager, id: string): Promise<LetterFact | undefined> {
  return letterFact(await read(manager, MESH_DEAD.name, { last_by_subj: deadSubject(id) }));
}

/** The last event of a node that is still stored. */
export async function readEvent(manager: Manager, id: string): Promise<EventFact | undefined> {
  const query = { last_by_subj: nodeEventSubject(id, "*") };
  return eventFact(await read(manager, MESH_EVENTS.name, query));
}

/** Looks for a task's message, from the front of the queue, as far as is bearable in a page. */
export async function findQueued(
  manager: Manager,
  id: string,
): Promise<{ readonly queued: QueuedFact | undefined; readonly search: SearchFact }> {
  const search = { complete: true, lookedAt: 0, permitted: true };
  const place = Number(/^s(\d{1,15})$/.exec(id)?.[1]);
  const byPlace = place > 0 ? await read(manager, MESH_TASKS.name, { seq: place }) : undefined;
  if (byPlace !== undefined && taskIdOf(byPlace) === id) {
    return { queued: queuedFact(byPlace, MESH_TASKS.name), search };
  }
  const delayed = await read(manager, MESH_RETRIES.name, { last_by_subj: delayedSubject(id) });
  if (delayed !== undefined) return { queued: queuedFact(delayed, MESH_RETRIES.name), search };
  let lookedAt = 0;
  for (let next = 1; lookedAt < SEARCHED_MAX; ) {
    const messages = await readBatch(manager, MESH_TASKS.name, {
      ...{ seq: next, batch: PORTION, max_bytes: PORTION_BYTES, next_by_subj: SUBMIT_ALL },
    });
    const found = messages.find((message) => taskIdOf(message) === id);
    lookedAt += messages.length;
    if (found !== undefined) {
      return { queued: queuedFact(found, MESH_TASKS.name), search: { ...search, lookedAt } };
    }
    const last = messages.at(-1);
    if (last === undefined) return { queued: undefined, search: { ...search, lookedAt } };
    next = last.seq + 1;
  }
  return { queued: undefined, search: { ...search, lookedAt, complete: false } };
}

/** A portion of a stream's messages, oldest first; none where nothing is stored. */
export async function readBatch(
  manager: Manager,
  stream: string,
  query: DirectBatchOptions,
): Promise<readonly StoredMsg[]> {
  const messages: StoredMsg[] = [];
  try {
    for await (const message of await manager.direct.getBatch(stream, query))
      messages.push(message);
  } catch (error) {
    // An empty range is answered with an error.
    if (!isNothingStored(error)) throw error;
  }
  return messages;
}

/** A stored message; `undefined`: there is none. */
async function read(
  manager: Manager,
  stream: string,
  query: { readonly seq: number } | { readonly last_by_subj: string },
): Promise<StoredMsg | undefined> {
  try {
    return (await manager.streams.getMessage(stream, query)) ?? undefined;
  } catch (error) {
    if (isNothingStored(error)) return undefined;
    throw error;
  }
}
