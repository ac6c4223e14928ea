/** `swarmctl dead list|get|retry`: tasks that were given up, and giving them another chance. */
import { JetStreamApiError, type JetStreamManager, type StoredMsg } from "@nats-io/jetstream";
import type { SubmitItem } from "@swarm-mesh/client";
import {
  deadSubject,
  encode,
  Header,
  Lane,
  lastTokenOf,
  looseValue,
  MESH_DEAD,
  SUBMIT_HEADERS,
} from "@swarm-mesh/protocol";
import { isoTime, systemClock, timeOf } from "@swarm-mesh/runtime";
import type { Call } from "./call.ts";
import { CliError, Exit, usageError } from "./exit.ts";
import { countFlag, taskIdArg } from "./flags.ts";
import { cell, document, pairs, print, span, table } from "./output.ts";
import { type Session, withSession } from "./session.ts";

export interface DeadListFlags {
  readonly limit: string;
}

export interface DeadRetryFlags {
  readonly capability?: string;
  readonly signWith?: string;
}

/** A dead letter. */
export interface DeadLetter {
  /** Its place in the stream. */
  readonly seq: number;
  readonly task: string;
  readonly capability: string;
  readonly at: string;
  readonly status: string;
  readonly lane: string;
  readonly submittedAt: string;
  /** As the coordinator wrote them. */
  readonly error: unknown;
  readonly tries: unknown;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

const LIMIT_MAX = 1_000;
const TASK_ID_MAX_CHARS = 64;
/** JetStream's error code. */
const NO_MESSAGE_FOUND = 10037;

export async function listDead(call: Call<DeadListFlags>): Promise<void> {
  const limit = countFlag("--limit", call.flags.limit, { min: 1, max: LIMIT_MAX });
  await withSession(call, "admin", async ({ format, manager }) => {
    const letters = await readLast(await manager(), limit);
    print(call.io, format, { dead: letters.map(shown) }, () => listText(letters));
  });
}

export async function getDead(call: Call): Promise<void> {
  const id = taskIdArg(call.args[0] ?? "");
  await withSession(call, "admin", async ({ format, manager }) => {
    const letter = await readOne(await manager(), id);
    const value = { ...shown(letter), body: looseValue(letter.body) };
    print(call.io, format, value, () => letterText(letter));
  });
}

/**
 * Submits the dead task again, as it was, and prints the new id. A signature was for the old one, so
 * it is signed again or not at all.
 */
export async function retryDead(call: Call<DeadRetryFlags>): Promise<void> {
  const id = taskIdArg(call.args[0] ?? "");
  const { signWith } = call.flags;
  const work = async (session: Session): Promise<void> => {
    const letter = await readOne(await session.manager(), id);
    const capability = call.flags.capability ?? capabilityOf(letter);
    const { capability: to, payload, ...options } = submitAgain(letter, capability);
    const submitted = await session.client.submit(to, payload, options);
    print(call.io, session.format, { ...submitted, of: letter.task, capability: to }, () =>
      submitted.duplicate
        ? `${submitted.id} was submitted before\n`
        : `${submitted.id} submitted\n`,
    );
  };
  await withSession(call, "admin", work, { signWith });
}

/** The id of a dead task's next life: the same for the same letter, so that a repeat is no new task. */
export function retryId(letter: Pick<DeadLetter, "task" | "seq">): string {
  const suffix = `-r${letter.seq}`;
  return `${letter.task.slice(0, TASK_ID_MAX_CHARS - suffix.length)}${suffix}`;
}

/** The submit that a dead letter was, under its new id. */
export function submitAgain(letter: DeadLetter, capability: string): SubmitItem {
  const header = (name: string): string | undefined => letter.headers[name];
  const attempts = header(Header.maxAttempts);
  return {
    capability,
    payload: letter.body,
    id: retryId(letter),
    lane: Lane.catch("normal").parse(letter.lane),
    maxAttempts: attempts === undefined ? undefined : Number(attempts),
    timeout: header(Header.timeout),
    backoff: header(Header.backoff),
    requires: header(Header.requires),
    prefer: header(Header.prefer),
    strategy: header(Header.strategy),
    trace: header(Header.traceparent),
  };
}

/** The newest `limit` letters, newest first, one at a time: a body may have 1 MB. */
async function readLast(manager: JetStreamManager, limit: number): Promise<readonly DeadLetter[]> {
  const { state } = await manager.streams.info(MESH_DEAD.name);
  const letters: DeadLetter[] = [];
  for (let seq = state.last_seq; seq >= state.first_seq && seq > 0; seq--) {
    if (letters.length >= limit) break;
    const message = await readMessage(manager, { seq });
    if (message !== undefined) letters.push(letterOf(message));
  }
  return letters;
}

async function readOne(manager: JetStreamManager, task: string): Promise<DeadLetter> {
  const message = await readMessage(manager, { last_by_subj: deadSubject(task) });
  if (message !== undefined) return letterOf(message);
  throw new CliError(
    Exit.notFound,
    "not_found",
    `there is no dead letter of task ${task}; \`swarmctl dead list\` shows those there are`,
  );
}

async function readMessage(
  manager: JetStreamManager,
  query: { readonly seq: number } | { readonly last_by_subj: string },
): Promise<StoredMsg | undefined> {
  try {
    return (await manager.streams.getMessage(MESH_DEAD.name, query)) ?? undefined;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === NO_MESSAGE_FOUND) return undefined;
    throw error;
  }
}

function letterOf(message: StoredMsg): DeadLetter {
  const headers: Record<string, string> = {};
  for (const name of message.header?.keys() ?? []) headers[name] = message.header.get(name);
  const header = (name: string): string => headers[name] ?? "";
  return {
    seq: message.seq,
    task: header(Header.taskId) || lastTokenOf(message.subject),
    capability: header(Header.capability),
    at: isoTime(message.time.getTime()),
    status: header(Header.status),
    lane: header(Header.lane),
    submittedAt: header(Header.submittedAt),
    error: jsonHeader(header(Header.error)),
    tries: jsonHeader(header(Header.tries)),
    headers,
    body: message.data,
  };
}

/** A header that holds JSON; as text when it was too long to be kept whole. */
function jsonHeader(text: string): unknown {
  return text === "" ? null : looseValue(Buffer.from(text));
}

/** A letter for programs; the body alone is left to `get`. */
function shown({ body, headers, ...letter }: DeadLetter): object {
  const submitHeaders = SUBMIT_HEADERS.filter((name) => headers[name] !== undefined);
  return {
    ...letter,
    headers: Object.fromEntries(submitHeaders.map((name) => [name, headers[name]])),
    bodyBytes: body.length,
  };
}

function listText(letters: readonly DeadLetter[]): string {
  if (letters.length === 0) return "no dead letters\n";
  const head = ["SEQ", "TASK", "CAPABILITY", "STATUS", "AGE", "BYTES", "ERROR"];
  const rows = letters.map((letter) => [
    String(letter.seq),
    letter.task,
    cell(letter.capability, 32),
    letter.status,
    span(systemClock.now() - timeOf(letter.at)),
    String(letter.body.length),
    cell(errorText(letter.error)),
  ]);
  return table(head, rows);
}

function letterText(letter: DeadLetter): string {
  const rows: (readonly [string, string])[] = [
    ["task", letter.task],
    ["capability", `${letter.capability} (${letter.lane})`],
    ["status", letter.status],
    ["submitted", letter.submittedAt],
    ["given up", `${letter.at} (letter ${letter.seq})`],
    ["error", errorText(letter.error)],
  ];
  for (const name of SUBMIT_HEADERS) {
    const value = letter.headers[name];
    if (value !== undefined) rows.push([name, value]);
  }
  for (const failed of Array.isArray(letter.tries) ? letter.tries : []) {
    rows.push(["try", cell(encode(failed), 200)]);
  }
  const body = looseValue(letter.body);
  const text = typeof body === "string" ? `${body.trimEnd()}\n` : document(body);
  return `${pairs(rows)}\nbody, ${letter.body.length} bytes:\n${text}`;
}

function errorText(error: unknown): string {
  if (typeof error === "object" && error !== null && "message" in error && "code" in error) {
    return `${String(error.message)} (${String(error.code)})`;
  }
  return error === null ? "-" : String(error);
}

function capabilityOf(letter: DeadLetter): string {
  if (letter.capability !== "") return letter.capability;
  throw usageError(`the dead letter of ${letter.task} names no capability; give --capability`);
}
