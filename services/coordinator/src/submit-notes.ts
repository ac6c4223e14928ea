/**
 * What is to be told of many submits in one entry of the audit trail: thousands come in a second, and
 * none of them may cost a request of its own.
 */
import type { SubmittedTasks } from "@swarm-mesh/protocol";

/** A submit as it came to hand. */
export interface Submit {
  readonly id: string;
  readonly capability: string;
  /** Who signed it, as it says; `null`: nobody. */
  readonly signer: string | null;
  /** Where it is in `MESH_TASKS`; 0: not known. */
  readonly seq: number;
}

/** Kinds of submits told apart in one entry; all further ones are of the capability `*`. */
const KINDS_MAX = 32;
/** Ids that one entry names, of all kinds together: it stays below 10 KB. */
const IDS_MAX = 50;
/** Sequences noted of one kind; beyond them only the first and the last count. 800 KB. */
const SEQUENCES_MAX = 100_000;
/** Runs of sequences told of one kind. */
const RUNS_MAX = 16;

interface Notes {
  readonly capability: string;
  readonly signer: string | null;
  count: number;
  readonly ids: string[];
  readonly sequences: number[];
  first: number;
  last: number;
}

export class SubmitNotes {
  #kinds = new Map<string, Notes>();
  #ids = 0;

  get empty(): boolean {
    return this.#kinds.size === 0;
  }

  note(submit: Submit): void {
    const notes = this.#notesOf(submit);
    notes.count++;
    if (this.#ids < IDS_MAX) {
      this.#ids++;
      notes.ids.push(submit.id);
    }
    const { seq } = submit;
    if (seq === 0) return;
    if (notes.sequences.length < SEQUENCES_MAX) notes.sequences.push(seq);
    notes.first = Math.min(notes.first, seq);
    notes.last = Math.max(notes.last, seq);
  }

  /** What was noted since the last time. */
  take(): SubmittedTasks[] {
    const kinds = [...this.#kinds.values()];
    this.#kinds = new Map();
    this.#ids = 0;
    return kinds.map((notes) => ({
      capability: notes.capability,
      signer: notes.signer,
      count: notes.count,
      ids: notes.ids,
      sequences: runsOf(notes),
    }));
  }

  #notesOf({ capability, signer }: Submit): Notes {
    const key = signer === null ? capability : `${capability} ${signer}`;
    const known = this.#kinds.get(key);
    if (known !== undefined) return known;
    if (this.#kinds.size >= KINDS_MAX && capability !== OTHER.capability) {
      return this.#notesOf(OTHER);
    }
    const notes: Notes = {
      ...{ capability, signer, count: 0, ids: [], sequences: [] },
      first: Number.POSITIVE_INFINITY,
      last: 0,
    };
    this.#kinds.set(key, notes);
    return notes;
  }
}

const OTHER: Submit = { id: "", capability: "*", signer: null, seq: 0 };

/** The sequences as runs without a gap; all as one when there would be too many. */
function runsOf({ sequences, first, last }: Notes): [number, number][] {
  if (last === 0) return [];
  const runs: [number, number][] = [];
  for (const seq of sequences.sort((a, b) => a - b)) {
    const run = runs.at(-1);
    if (run !== undefined && seq <= run[1] + 1) run[1] = seq;
    else runs.push([seq, seq]);
    if (runs.length > RUNS_MAX) return [[first, last]];
  }
  return sequences.length >= SEQUENCES_MAX ? [[first, last]] : runs;
}
