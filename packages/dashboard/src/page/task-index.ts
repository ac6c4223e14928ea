/** The tasks the page knows, newest change last: small rows, bounded. Details are read on demand. */
import type { TaskRecord, TaskStatus } from "@swarm-mesh/protocol";

/** What a list shows of a task. */
export interface TaskRow {
  readonly id: string;
  readonly capability: string;
  readonly lane: string;
  readonly status: TaskStatus;
  readonly node: string;
  readonly attempt: number;
  readonly moves: number;
  readonly submittedAt: string;
  readonly finishedAt: string | null;
  /** The error's code and message, to be searched; cut. */
  readonly error: string;
  readonly revision: number;
}

/** Rows kept; beyond it the one that changed longest ago goes. */
export const ROWS_MAX = 10_000;
const ERROR_MAX_CHARS = 200;

export class TaskIndex {
  readonly #rows = new Map<string, TaskRow>();

  get size(): number {
    return this.#rows.size;
  }

  get(id: string): TaskRow | undefined {
    return this.#rows.get(id);
  }

  /** Takes in a record; an older revision than the known one changes nothing. */
  put(record: TaskRecord, revision: number): void {
    const before = this.#rows.get(record.id);
    if (before !== undefined && before.revision >= revision) return;
    this.#rows.delete(record.id);
    this.#rows.set(record.id, rowOf(record, revision));
    if (this.#rows.size <= ROWS_MAX) return;
    const [oldest] = this.#rows.keys();
    if (oldest !== undefined) this.#rows.delete(oldest);
  }

  /** A record read from the past: it never pushes out what changed later. */
  putOld(record: TaskRecord, revision: number): boolean {
    if (this.#rows.size >= ROWS_MAX && !this.#rows.has(record.id)) return false;
    this.put(record, revision);
    return true;
  }

  forget(id: string): void {
    this.#rows.delete(id);
  }

  /** The newest rows that match, at most `limit`, and how many match in all. */
  search(query: Query, limit: number): { readonly rows: readonly TaskRow[]; readonly all: number } {
    const matches = [...this.#rows.values()]
      .filter((row) => matchesQuery(row, query))
      .sort((a, b) => b.revision - a.revision);
    return { rows: matches.slice(0, limit), all: matches.length };
  }

  /** Rows that run now. */
  running(): readonly TaskRow[] {
    return [...this.#rows.values()].filter(({ status }) => status === "running");
  }
}

/** What is looked for; empty means anything. */
export interface Query {
  /** Words, all of which must be somewhere in the row. */
  readonly text: string;
  readonly status: string;
  readonly capability: string;
  readonly node: string;
}

function matchesQuery(row: TaskRow, { text, status, capability, node }: Query): boolean {
  if (status !== "" && row.status !== status) return false;
  if (capability !== "" && row.capability !== capability) return false;
  if (node !== "" && row.node !== node) return false;
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const { id, error } = row;
  const hay =
    `${id} ${row.capability} ${row.lane} ${row.status} ${row.node} ${error}`.toLowerCase();
  return words.every((word) => hay.includes(word));
}

function rowOf(record: TaskRecord, revision: number): TaskRow {
  const { error } = record;
  return {
    id: record.id,
    capability: record.capability,
    lane: record.lane,
    status: record.status,
    node: record.node ?? "",
    attempt: record.attempt,
    moves: record.migrations.length,
    submittedAt: record.submittedAt,
    finishedAt: record.finishedAt,
    error: error === null ? "" : `${error.code}: ${error.message}`.slice(0, ERROR_MAX_CHARS),
    revision,
  };
}
