/** Everything a history says of one task, in as little memory as the rules allow. */
import { createHash } from "node:crypto";
import { encode, type TaskRecord, type TaskStatus } from "@swarm-mesh/protocol";
import { z } from "zod";
import type { LineOf } from "./history.ts";
import type { Place } from "./violation.ts";

/** One accepted change of the task's record, or what a last look found. */
export interface Change {
  readonly place: Place;
  readonly revision: number;
  /** The revision it was written on; `undefined`: not known. */
  readonly previous: number | undefined;
  /** When it was stored, else when it was seen. Milliseconds since the epoch. */
  readonly at: number;
  /** `undefined`: the key is gone. */
  readonly record: RecordFacts | undefined;
}

/** What the rules need of a record. Times are milliseconds since the epoch. */
export interface RecordFacts {
  readonly capability: string;
  readonly status: TaskStatus;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly node: string | null;
  readonly incarnation: number | null;
  readonly epoch: number;
  readonly submittedAt: number;
  readonly startedAt: number | undefined;
  readonly finishedAt: number | undefined;
  readonly dueAt: number | undefined;
  readonly errorCode: string | undefined;
  readonly errorRetryable: boolean;
  /** Failed tries, and the last one's attempt (0: none). */
  readonly tries: number;
  readonly lastTry: number;
  readonly migrations: number;
  /** Why the last move was made. */
  readonly lastReason: string | undefined;
  /** The whole record, result and all, as a short hash: equal records have equal digests. */
  readonly digest: string;
}

export type Start = Omit<LineOf<"started">, "what" | "by" | "task"> & { readonly place: Place };
export type Ending = Omit<LineOf<"ended">, "what" | "by" | "task"> & { readonly place: Place };
export type Saved = Omit<LineOf<"checkpoint">, "what" | "by" | "task"> & { readonly place: Place };
export type Answer = Omit<LineOf<"answered">, "what" | "by" | "task"> & { readonly place: Place };
export type Seen = Omit<LineOf<"result-seen">, "what" | "by" | "task"> & { readonly place: Place };

/** A task, as far as a history tells. Rules find the records in the order of their revisions. */
export class TaskStory {
  readonly id: string;
  /** The first PubAck. */
  acknowledged: Place | undefined;
  /** `Mesh-Max-Attempts` of the submit, when told. */
  maxAttempts: number | undefined;
  /** Its message was still in a stream when the run was over. */
  waiting = false;
  readonly starts: Start[] = [];
  readonly ends: Ending[] = [];
  readonly saved: Saved[] = [];
  readonly answers: Answer[] = [];
  readonly seen: Seen[] = [];
  readonly deadLetters: Place[] = [];
  readonly unreadable: { readonly place: Place; readonly problem: string }[] = [];
  finalLook: Change | undefined;
  readonly #told: Change[] = [];
  #changes: readonly Change[] | undefined;

  constructor(id: string) {
    this.id = id;
  }

  addChange(change: Change): void {
    this.#told.push(change);
    this.#changes = undefined;
  }

  /** Every change that was told, in the order of revisions; the same one may be told twice. */
  get told(): readonly Change[] {
    return this.#told;
  }

  /** The changes in the order of revisions, each once. */
  get changes(): readonly Change[] {
    this.#changes ??= [...this.#told]
      .sort((a, b) => a.revision - b.revision)
      .filter((change, index, all) => change.revision !== all[index - 1]?.revision);
    return this.#changes;
  }

  /** The newest record there was: of the last look, when it is newer than what was followed. */
  get last(): Change | undefined {
    const change = this.changes.at(-1);
    const look = this.finalLook;
    if (look === undefined) return change;
    return change === undefined || look.revision > change.revision ? look : change;
  }

  /** The first record that gives this attempt to a node. */
  placementOf(attempt: number): Change | undefined {
    return this.changes.find(
      ({ record }) => record?.status === "running" && record.attempt === attempt,
    );
  }

  /** The first final record. */
  get final(): Change | undefined {
    return [...this.changes, ...(this.finalLook === undefined ? [] : [this.finalLook])].find(
      ({ record }) => record !== undefined && isFinalStatus(record.status),
    );
  }
}

/** Two changes of which the second was written on the first, as far as is known. */
export interface Step {
  readonly from: Change;
  readonly to: Change;
}

/**
 * Changes that follow each other without one in between that was missed. Without `previous` they are
 * taken to.
 */
export function stepsOf(story: TaskStory): Step[] {
  return story.changes.flatMap((to, index) => {
    const from = story.changes[index - 1];
    const known = from !== undefined && (to.previous ?? from.revision) === from.revision;
    return known ? [{ from, to }] : [];
  });
}

/** Written down here and not taken from the product: a bug there must not blind the judge. */
const FINAL: readonly TaskStatus[] = ["succeeded", "failed", "cancelled", "rejected"];

export function isFinalStatus(status: TaskStatus): boolean {
  return FINAL.includes(status);
}

const Moment = z.coerce.date();

function millis(iso: string | null): number | undefined {
  return iso === null ? undefined : Moment.parse(iso).getTime();
}

/** What the rules need of a record. */
export function factsOf(record: TaskRecord): RecordFacts {
  const { capability, status, attempt, maxAttempts, node, incarnation, epoch } = record;
  return {
    capability,
    status,
    attempt,
    maxAttempts,
    node,
    incarnation,
    epoch,
    submittedAt: millis(record.submittedAt) ?? 0,
    startedAt: millis(record.startedAt),
    finishedAt: millis(record.finishedAt),
    dueAt: millis(record.dueAt),
    errorCode: record.error?.code,
    errorRetryable: record.error?.retryable ?? false,
    tries: record.tries.length,
    lastTry: record.tries.at(-1)?.attempt ?? 0,
    migrations: record.migrations.length,
    lastReason: record.migrations.at(-1)?.reason,
    digest: createHash("sha1")
      .update(encode(inOrder(record)))
      .digest("base64")
      .slice(0, 16),
  };
}

/** The same value with every object's keys in order, so that equal values are equal texts. */
function inOrder(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inOrder);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, field]) => [key, inOrder(field)]));
}
