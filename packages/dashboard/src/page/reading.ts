/** Single looks into the stores, for what is not followed. */
import type { JetStreamManager, StoredMsg } from "@nats-io/jetstream";
import type { MsgHdrs } from "@nats-io/nats-core";
import {
  deadSubject,
  decode,
  delayedSubject,
  Header,
  kvSubject,
  MESH_DEAD,
  MESH_EVENTS,
  MESH_RETRIES,
  MESH_TASKS,
  NodeEvent,
  nodeEventSubject,
  parseSubmitHeaders,
  SUBMIT_ALL,
  TASKS_BUCKET,
  TaskRecord,
  tokenOf,
} from "@swarm-mesh/protocol";
import { timeOf } from "@swarm-mesh/runtime";
import type { EventFact, LetterFact, QueuedFact, SearchFact } from "@swarm-mesh/why";

/** JetStream's error code. */
const NO_MESSAGE_FOUND = 10037;
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
  const letter = await read(manager, MESH_DEAD.name, { last_by_subj: deadSubject(id) });
  return letter && { seq: letter.seq, atMs: letter.time.getTime() };
}

/** The last event of a node that is still stored. */
export async function readEvent(manager: Manager, id: string): Promise<EventFact | undefined> {
  const query = { last_by_subj: nodeEventSubject(id, "*") };
  const message = await read(manager, MESH_EVENTS.name, query);
  const event = message === undefined ? undefined : decode(NodeEvent, message.data);
  if (message === undefined || event?.ok !== true) return undefined;
  const { at, by, reason } = event.value;
  const kind = message.subject.slice(message.subject.lastIndexOf(".") + 1);
  return { kind, reason, by, atMs: timeOf(at) };
}

/** Looks for a task's message, from the front of the queue, as far as is bearable in a page. */
export async function findQueued(
  manager: Manager,
  id: string,
): Promise<{ readonly queued: QueuedFact | undefined; readonly search: SearchFact }> {
  const search = { complete: true, lookedAt: 0, permitted: true };
  const place = Number(/^s(\d{1,15})$/.exec(id)?.[1]);
  const byPlace = place > 0 ? await read(manager, MESH_TASKS.name, { seq: place }) : undefined;
  if (byPlace !== undefined && idOf(byPlace) === id) {
    return { queued: queuedOf(byPlace, MESH_TASKS.name), search };
  }
  const delayed = await read(manager, MESH_RETRIES.name, { last_by_subj: delayedSubject(id) });
  if (delayed !== undefined) return { queued: queuedOf(delayed, MESH_RETRIES.name), search };
  let lookedAt = 0;
  for (let next = 1; lookedAt < SEARCHED_MAX; ) {
    const messages = await portion(manager, next);
    const found = messages.find((message) => idOf(message) === id);
    lookedAt += messages.length;
    if (found !== undefined) {
      return { queued: queuedOf(found, MESH_TASKS.name), search: { ...search, lookedAt } };
    }
    const last = messages.at(-1);
    if (last === undefined) return { queued: undefined, search: { ...search, lookedAt } };
    next = last.seq + 1;
  }
  return { queued: undefined, search: { ...search, lookedAt, complete: false } };
}

async function portion(manager: Manager, seq: number): Promise<readonly StoredMsg[]> {
  const messages: StoredMsg[] = [];
  try {
    const found = await manager.direct.getBatch(MESH_TASKS.name, {
      ...{ seq, batch: PORTION, max_bytes: PORTION_BYTES, next_by_subj: SUBMIT_ALL },
    });
    for await (const message of found) messages.push(message);
  } catch (error) {
    // An empty range is answered with an error: then there is no more.
    if (!isNothing(error)) throw error;
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
    if (isNothing(error)) return undefined;
    throw error;
  }
}

/** Is it the error that there is no such message? By its code; direct reads have one of their own. */
export function isNothing(error: unknown): boolean {
  if (!(error instanceof Error) || !("code" in error)) return false;
  return error.code === NO_MESSAGE_FOUND || error.code === 404;
}

function headersOf(message: StoredMsg): MsgHdrs | undefined {
  try {
    return message.header;
  } catch {
    // Headers nobody can read: the message is known by its place alone.
    return undefined;
  }
}

function idOf(message: StoredMsg): string {
  const h = headersOf(message);
  return h?.get(Header.taskId) || h?.get(Header.msgId) || `s${message.seq}`;
}

function queuedOf(message: StoredMsg, stream: string): QueuedFact {
  const h = headersOf(message);
  const options = h === undefined ? undefined : parseSubmitHeaders(h);
  const isSubmit = tokenOf(message.subject, 2) === "submit";
  return {
    stream,
    seq: message.seq,
    capability: tokenOf(message.subject, 3),
    lane: (isSubmit ? tokenOf(message.subject, 4) : h?.get(Header.lane)) || "normal",
    storedAtMs: message.time.getTime(),
    requires: options !== undefined && "requires" in options ? options.requires : undefined,
  };
}
