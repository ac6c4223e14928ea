/**
 * Writes the leader's part of the audit trail: who leads, which tasks were submitted, which cancelled.
 *
 *     a leader begins ──▶ what the one before it had not written yet, from the records ──▶ leader.elected
 *     submits, cancels ──noted in memory──▶ one entry a second at most ──▶ task.submitted, task.cancelled
 *
 * Nothing of a task waits for it. A leader that dies takes at most its notes of a second along; each
 * entry says up to which revision of the records it goes, and the next leader reads what is newer.
 * So an entry may tell of a submit that another has told of, and none is left out. While the store
 * takes no entry they wait here, counted where they are too many to be named.
 */
import { DeliverPolicy, JetStreamApiError, jetstream } from "@nats-io/jetstream";
import { AuditTrail, bucketStream } from "@swarm-mesh/bus";
import type { ServiceDeps } from "@swarm-mesh/process";
import {
  type AuditDeed,
  AuditMark,
  type AuditWho,
  decode,
  TASKS_BUCKET,
  TaskRecord,
} from "@swarm-mesh/protocol";
import { aborted, backoffMs, LOOP_BACKOFF, Wakeup, within } from "@swarm-mesh/runtime";
import type { HeldTask } from "./held-task.ts";
import type { CoordinatorMeters } from "./meters.ts";
import { SubmitNotes } from "./submit-notes.ts";

/** An entry is written this much later than the one before it, at the earliest. */
const ENTRY_EVERY_MS = 1_000;
/** What comes within it goes into the same entry. */
const GATHER_MS = 20;
/** Cancels waiting to be written; further ones are only counted. Each has an entry of its own. */
const CANCELS_MAX = 1_000;
/** Cancels written between two entries of submits. */
const CANCELS_AT_ONCE = 20;
/** How long a leader that resigns takes to write what it has noted. */
const LAST_WORD_MS = 500;
/** Records read at once while looking for what an earlier leader did not write. */
const READ_AT_ONCE = 500;
/**
 * Tasks remembered meanwhile, to tell of each once; then all are forgotten, and a task whose record
 * changed before and after is counted twice. 10 MB.
 */
const SEEN_MAX = 100_000;

interface Cancel {
  readonly taskId: string;
  readonly who: AuditWho;
  readonly capability: string;
}

export interface AuditorOptions {
  readonly deps: Omit<ServiceDeps, "meters" | "ready">;
  readonly meters: Pick<CoordinatorMeters, "auditRefusals">;
  readonly epoch: number;
  /** The newest revision of the records that this leader has written; 0: none yet. */
  readonly newestRevision: () => number;
}

/** What a term tells of, and has running beside it. */
export type Audits = Pick<Auditor, "submitted" | "cancelled" | "run">;

export class Auditor {
  readonly #options: AuditorOptions;
  readonly #trail: AuditTrail;
  readonly #notes = new SubmitNotes();
  readonly #wakeup = new Wakeup();
  #cancels: Cancel[] = [];
  #cancelsLeftOut = 0;
  /** Where the records stood when this leader began. */
  #base = 0;

  constructor(options: AuditorOptions) {
    this.#options = options;
    this.#trail = new AuditTrail({ ...options.deps, by: options.deps.instance });
  }

  /** A submit has come to hand; whether it is new, the record will tell. */
  submitted({ id, capability, seq, options }: HeldTask): void {
    if (this.#notes.empty) this.#wakeup.ring();
    this.#notes.note({ id, capability, seq, signer: options.signature?.signer ?? null });
  }

  /** Someone asked for this task to be cancelled, and it is. */
  cancelled(record: TaskRecord, who: AuditWho): void {
    if (this.#cancels.length >= CANCELS_MAX) this.#cancelsLeftOut++;
    else this.#cancels.push({ taskId: record.id, capability: record.capability, who });
    this.#wakeup.ring();
  }

  /** Writes until `signal` aborts, and then what it has noted, if that is quick. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options.deps;
    try {
      await this.#begin(signal);
      while (!signal.aborted) {
        this.#wakeup.clear();
        if (this.#idle) await this.#wakeup.wait(signal);
        if (signal.aborted) break;
        await clock.sleep(GATHER_MS, signal);
        await this.#write(signal);
        await clock.sleep(ENTRY_EVERY_MS - GATHER_MS, signal);
      }
      await within(new AbortController().signal, async (inner) => {
        const late = clock.sleep(LAST_WORD_MS, inner);
        await Promise.race([this.#write(inner), late]);
      });
    } catch (error) {
      // Tasks go on without it; that it is so must not go unseen.
      log.error({ err: error }, "the audit trail is not written in this term");
      await aborted(signal);
    }
  }

  get #idle(): boolean {
    return this.#notes.empty && this.#cancels.length === 0 && this.#cancelsLeftOut === 0;
  }

  async #write(signal: AbortSignal): Promise<void> {
    // A submit is noted before its record is written: none of these records is of one noted later.
    const through = Math.max(this.#base, this.#options.newestRevision());
    const tasks = this.#notes.take();
    if (tasks.length > 0) {
      await this.#append(
        { ...BY_THE_MESH, action: "task.submitted", details: { through, tasks } },
        signal,
      );
    }
    for (const { taskId, who, capability } of this.#cancels.splice(0, CANCELS_AT_ONCE)) {
      const deed = { action: "task.cancelled", target: taskId, who, reason: "" };
      // Of one that never came to hand the capability is not known.
      await this.#append({ ...deed, details: capability === "" ? {} : { capability } }, signal);
    }
    if (this.#cancelsLeftOut > 0) {
      const details = { leftOut: this.#cancelsLeftOut };
      this.#cancelsLeftOut = 0;
      await this.#append({ ...BY_THE_MESH, action: "task.cancelled", details }, signal);
    }
  }

  /** Writes what an earlier leader has not, and that this one leads. */
  async #begin(signal: AbortSignal): Promise<void> {
    const { deps, epoch } = this.#options;
    for (let failures = 1; !signal.aborted; failures++) {
      try {
        const { state } = await deps.manager.streams.info(bucketStream(TASKS_BUCKET));
        this.#base = state.last_seq;
        const mark = await this.#newestMark();
        const recovered = mark === undefined ? [] : await this.#recover(mark, signal);
        const details = { epoch, through: this.#base, recovered };
        const deed = { ...BY_THE_MESH, action: "leader.elected", target: "coordinator", details };
        await this.#append(deed, signal);
        return;
      } catch (error) {
        deps.log.warn({ err: error }, "audit trail not begun yet");
        await deps.clock.sleep(backoffMs(LOOP_BACKOFF, failures, deps.random), signal);
      }
    }
  }

  /** Up to which revision the trail has told of the records; `undefined`: it tells of none. */
  async #newestMark(): Promise<number | undefined> {
    const marks = ["task.submitted", "leader.elected"].map(async (action) => {
      const mark = AuditMark.safeParse((await this.#trail.newest(action))?.details);
      return mark.success ? [mark.data.through] : [];
    });
    const known = (await Promise.all(marks)).flat();
    return known.length === 0 ? undefined : Math.max(...known);
  }

  /** Tasks whose records are newer than the trail, up to where this leader began. */
  async #recover(through: number, signal: AbortSignal) {
    const notes = new SubmitNotes();
    const seen = new Set<string>();
    if (through >= this.#base) return notes.take();
    const consumer = await jetstream(this.#options.deps.nc).consumers.get(
      bucketStream(TASKS_BUCKET),
      { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: through + 1 },
    );
    for (let at = through; at < this.#base && !signal.aborted; ) {
      const batch = await consumer.fetch({ max_messages: READ_AT_ONCE, expires: 1_000 });
      let read = 0;
      for await (const message of batch) {
        read++;
        at = message.seq;
        const record = decode(TaskRecord, message.data);
        if (!record.ok || at > this.#base || seen.has(record.value.id)) continue;
        const { id, capability } = record.value;
        if (seen.size >= SEEN_MAX) seen.clear();
        seen.add(id);
        notes.note({ id, capability, signer: null, seq: 0 });
        if (message.info.pending === 0) at = this.#base;
      }
      // The newest of them may have expired since.
      if (read === 0) break;
    }
    await consumer.delete().catch((error: unknown) => {
      if (!(error instanceof JetStreamApiError)) throw error;
    });
    return notes.take();
  }

  async #append(deed: AuditDeed, signal: AbortSignal): Promise<void> {
    const { deps, meters } = this.#options;
    const patience = { log: deps.log, refusals: meters.auditRefusals, signal };
    await this.#trail.appendPatiently(deed, patience);
  }
}

/** What the mesh does by itself, or for somebody who is not known. */
const BY_THE_MESH = { who: {}, target: "", reason: "" };
