/**
 * Every task's record, newest change first, by whatever can be asked of it: read from the store
 * itself, in constant memory, so that a day of tasks can be searched.
 */
import type { JetStreamManager, StoredMsg } from "@nats-io/jetstream";
import { bucketStream, goodHeaders, isMarker } from "@swarm-mesh/bus";
import {
  decode,
  Header,
  isFinal,
  kvSubject,
  lastTokenOf,
  MESH_TASKS,
  SUBMIT_ALL,
  submitSubject,
  TASKS_BUCKET,
  TaskRecord,
  tokenOf,
} from "@swarm-mesh/protocol";
import { isoTime, timeOf } from "@swarm-mesh/runtime";
import { type Filter, matches } from "./filters.ts";
import { getMessage, newestFirst, oldestFirst } from "./stored.ts";

/** Ids that are remembered, so that a record's earlier versions are known; about 20 MB. */
const SEEN_MAX = 200_000;
/** Records that are asked for at once. */
const READS_MAX = 64;

const STREAM = bucketStream(TASKS_BUCKET);

/** How far a search has come. */
export interface Looked {
  /** Versions of records, and those there were when it began. */
  readonly done: number;
  readonly total: number;
}

/** The records that match. `onLooked` is told now and then how far the search has come. */
export async function* findTasks(
  manager: JetStreamManager,
  filter: Filter,
  onLooked: (looked: Looked) => void,
): AsyncGenerator<TaskRecord> {
  const { state } = await manager.streams.info(STREAM);
  const seen = new BoundedSet(SEEN_MAX);
  const hints = hintsOf(filter);
  const all = { stream: STREAM, subject: kvSubject(TASKS_BUCKET.name, ">"), to: state.last_seq };
  const total = state.last_seq - state.first_seq + 1;
  const onWindow = (place: number): void => onLooked({ done: state.last_seq - place + 1, total });
  for await (const message of newestFirst(manager, all, onWindow)) {
    // A version is stored after the submit: whatever is older still was submitted before.
    if (filter.afterMs !== undefined && message.time.getTime() < filter.afterMs) return;
    if (!seen.add(lastTokenOf(message.subject))) continue;
    if (isMarker(goodHeaders(() => message.header)) || !mayMatch(message, hints)) continue;
    const record = decode(TaskRecord, message.data);
    if (!record.ok || !matches(filter, subjectOf(record.value, message))) continue;
    if (!isFinal(record.value.status) && seen.overflowed && !(await isNewest(manager, message))) {
      continue;
    }
    yield record.value;
  }
}

/** What bytes of a record must hold to match: most are sorted out before they are parsed. */
function hintsOf({ status, capability, node }: Filter): readonly string[] {
  const wanted = { status, capability, node };
  return Object.entries(wanted).flatMap(([field, value]) =>
    value === undefined ? [] : [`"${field}":"${value}"`],
  );
}

function mayMatch({ data }: StoredMsg, hints: readonly string[]): boolean {
  if (hints.length === 0) return true;
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return hints.every((hint) => bytes.includes(hint));
}

function subjectOf(record: TaskRecord, { data }: StoredMsg) {
  const { status, capability, node, submittedAt, tries, error } = record;
  return {
    status,
    capability,
    nodes: node === null ? [] : [node],
    submittedAtMs: timeOf(submittedAt),
    errors: [...(error === null ? [] : [error]), ...tries.map((failed) => failed.error)],
    text: () => Buffer.from(data).toString(),
  };
}

async function isNewest(manager: JetStreamManager, message: StoredMsg): Promise<boolean> {
  const last = await getMessage(manager, STREAM, { last_by_subj: message.subject });
  return last?.seq === message.seq;
}

/** A task that waits and has never run, so that it has no record. */
export interface WaitingTask {
  readonly id: string;
  readonly capability: string;
  readonly lane: string;
  readonly status: "waiting";
  readonly submittedAt: string;
}

/** The tasks that wait for their first try, oldest first. Needs the right to read the queue. */
export async function* findWaiting(
  manager: JetStreamManager,
  filter: Filter,
  onLooked: (looked: Looked) => void,
): AsyncGenerator<WaitingTask> {
  const { state } = await manager.streams.info(MESH_TASKS.name);
  const subjects =
    filter.capability === undefined
      ? [SUBMIT_ALL]
      : [submitSubject(filter.capability), `${submitSubject(filter.capability)}.*`];
  let done = 0;
  for (const subject of subjects) {
    let batch: StoredMsg[] = [];
    for await (const message of oldestFirst(manager, { stream: MESH_TASKS.name, subject })) {
      onLooked({ done: ++done, total: state.messages });
      batch.push(message);
      if (batch.length < READS_MAX) continue;
      yield* await waitingAmong(manager, batch, filter);
      batch = [];
    }
    yield* await waitingAmong(manager, batch, filter);
  }
}

async function waitingAmong(
  manager: JetStreamManager,
  messages: readonly StoredMsg[],
  filter: Filter,
): Promise<readonly WaitingTask[]> {
  const tasks = messages.map(waitingTask).filter((task) =>
    matches(filter, {
      ...task,
      nodes: [],
      submittedAtMs: timeOf(task.submittedAt),
      errors: [],
      text: () => JSON.stringify(task),
    }),
  );
  const records = await Promise.all(
    tasks.map(({ id }) =>
      getMessage(manager, STREAM, { last_by_subj: kvSubject(TASKS_BUCKET.name, id) }),
    ),
  );
  return tasks.filter((_, index) => records[index] === undefined);
}

function waitingTask(message: StoredMsg): WaitingTask {
  const h = goodHeaders(() => message.header);
  return {
    id: h?.get(Header.msgId) || `s${message.seq}`,
    capability: tokenOf(message.subject, 3),
    lane: tokenOf(message.subject, 4) || "normal",
    status: "waiting",
    submittedAt: isoTime(message.time.getTime()),
  };
}

/** Remembers the last so many. */
class BoundedSet {
  readonly #held = new Set<string>();
  readonly #max: number;
  /** Was something forgotten? */
  overflowed = false;

  constructor(max: number) {
    this.#max = max;
  }

  /** `false`: it was there. */
  add(value: string): boolean {
    if (this.#held.has(value)) return false;
    if (this.#held.size >= this.#max) {
      this.overflowed = true;
      for (const oldest of this.#held) {
        this.#held.delete(oldest);
        break;
      }
    }
    this.#held.add(value);
    return true;
  }
}
