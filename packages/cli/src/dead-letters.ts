/** Dead letters: what is stored of a task that was given up, read, matched and sorted into groups. */
import type { JetStreamManager, StoredMsg } from "@nats-io/jetstream";
import type { SubmitItem } from "@swarm-mesh/client";
import {
  check,
  DEAD_ALL,
  deadSubject,
  encode,
  FailedTry,
  Header,
  Lane,
  lastTokenOf,
  looseValue,
  MESH_DEAD,
  retryId,
  WireError,
} from "@swarm-mesh/protocol";
import { isoTime, timeOf } from "@swarm-mesh/runtime";
import { CliError, Exit } from "./exit.ts";
import { type Filter, matches } from "./filters.ts";
import { getMessage, newestFirst, oldestFirst } from "./stored.ts";

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

/** Which letters are meant: chosen ones, or all that match. */
export interface Selection {
  readonly ids: readonly string[];
  /** Of the ids, those that have no letter. */
  readonly missing: readonly string[];
  readonly filter: Filter;
  /** The last place that counts: letters that come while we work are for another time. */
  readonly to: number;
  /** How many there are; `undefined`: only a look at each would tell. */
  readonly total: number | undefined;
}

/** The letters that are meant, oldest first; of a chosen id, the last one. */
export async function* select(
  manager: JetStreamManager,
  { ids, filter, to }: Pick<Selection, "ids" | "filter" | "to">,
): AsyncGenerator<DeadLetter> {
  if (ids.length > 0) {
    for (const id of ids) {
      const letter = await findLetter(manager, id);
      if (letter !== undefined && isMeant(letter, filter)) yield letter;
    }
    return;
  }
  const all = { stream: MESH_DEAD.name, subject: DEAD_ALL, to };
  for await (const message of oldestFirst(manager, all)) {
    const letter = letterOf(message);
    if (isMeant(letter, filter)) yield letter;
  }
}

/** The letters that match, newest first. */
export async function* newestLetters(
  manager: JetStreamManager,
  filter: Filter,
): AsyncGenerator<DeadLetter> {
  for await (const message of newestFirst(manager, { stream: MESH_DEAD.name, subject: DEAD_ALL })) {
    const letter = letterOf(message);
    if (isMeant(letter, filter)) yield letter;
  }
}

/** A task's last letter; `undefined`: there is none. */
export async function findLetter(
  manager: JetStreamManager,
  task: string,
): Promise<DeadLetter | undefined> {
  const query = { last_by_subj: deadSubject(task) };
  const message = await getMessage(manager, MESH_DEAD.name, query);
  return message && letterOf(message);
}

/** A task's last letter; that there is none is an error. */
export async function readLetter(manager: JetStreamManager, task: string): Promise<DeadLetter> {
  const letter = await findLetter(manager, task);
  if (letter !== undefined) return letter;
  throw new CliError(Exit.notFound, "not_found", noLetterText(task));
}

/** What is said when a task has no letter. */
export function noLetterText(task: string): string {
  return `there is no dead letter of task ${task}; \`swarmctl dead list\` shows those there are`;
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

function isMeant(letter: DeadLetter, filter: Filter): boolean {
  const tries = triesOf(letter);
  const error = errorOf(letter);
  return matches(filter, {
    status: letter.status,
    capability: letter.capability,
    nodes: tries.flatMap(({ node }) => (node === null ? [] : [node])),
    submittedAtMs: timeOf(letter.submittedAt),
    errors: [...(error === undefined ? [] : [error]), ...tries.map((failed) => failed.error)],
    text: () => `${encode(letter.headers)} ${Buffer.from(letter.body).toString()}`,
  });
}

/** Its last error; `undefined`: it says none that can be read. */
export function errorOf({ error }: Pick<DeadLetter, "error">): WireError | undefined {
  const read = check(WireError, error);
  return read.ok ? read.value : undefined;
}

/** Its tries, as far as they can be read. */
export function triesOf({ tries }: Pick<DeadLetter, "tries">): readonly FailedTry[] {
  return (Array.isArray(tries) ? tries : []).flatMap((one: unknown) => {
    const read = check(FailedTry, one);
    return read.ok ? [read.value] : [];
  });
}

// ── Another chance ──────────────────────────────────────────────────────────────────────────────

/** The submit that a dead letter was, under its new id. */
export function submitAgain(letter: DeadLetter, capability: string): SubmitItem {
  const header = (name: string): string | undefined => letter.headers[name];
  const attempts = header(Header.maxAttempts);
  return {
    capability,
    payload: letter.body,
    id: retryId(letter.task, letter.seq),
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

// ── Groups ──────────────────────────────────────────────────────────────────────────────────────

/** Letters whose tasks ended alike. */
export interface LetterGroup {
  readonly code: string;
  /** The message, less what differs from task to task. */
  readonly shape: string;
  readonly capabilities: readonly string[];
  readonly count: number;
  /** When the first and the last of them was given up. */
  readonly first: string;
  readonly last: string;
  /** The task of the last one. */
  readonly example: string;
}

/** Groups that are told apart; the rest is one. */
const GROUPS_MAX = 1_000;
const SHAPE_MAX_CHARS = 120;
const REST = "everything else";

/** Counts letters by how their tasks ended, in memory that does not grow with their number. */
export class LetterGroups {
  readonly #groups = new Map<string, LetterGroup & { readonly capabilities: string[] }>();

  add(letter: DeadLetter): void {
    const error = errorOf(letter);
    const code = error?.code ?? "";
    const shape = shapeOf(error?.message ?? "no error that can be read");
    const known = `${code} ${shape}`;
    const full = this.#groups.size >= GROUPS_MAX && !this.#groups.has(known);
    const key = full ? REST : known;
    const { at, capability, task } = letter;
    const group = this.#groups.get(key);
    const capabilities = group?.capabilities ?? [];
    if (!capabilities.includes(capability)) capabilities.push(capability);
    const later = group === undefined || at >= group.last;
    this.#groups.set(key, {
      code: full ? "" : code,
      shape: full ? REST : shape,
      capabilities,
      count: (group?.count ?? 0) + 1,
      first: group === undefined || at < group.first ? at : group.first,
      last: later ? at : group.last,
      example: later ? task : group.example,
    });
  }

  /** The largest first. */
  all(): readonly LetterGroup[] {
    return [...this.#groups.values()].sort((left, right) => right.count - left.count);
  }
}

/** A message without its numbers, ids and quoted parts: what all of a kind have in common. */
export function shapeOf(message: string): string {
  return message
    .replaceAll(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi, "<id>")
    .replaceAll(/"[^"]*"|'[^']*'|`[^`]*`/g, "<text>")
    .replaceAll(/\b(0x)?(?=[0-9a-f]*\d)[0-9a-f]{8,}\b/gi, "<id>")
    .replaceAll(/\d+(\.\d+)?/g, "<n>")
    .replaceAll(/\s+/g, " ")
    .trim()
    .slice(0, SHAPE_MAX_CHARS);
}
