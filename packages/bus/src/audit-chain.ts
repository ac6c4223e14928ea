/** The audit trail as a chain: how an entry is put at its end, and how a broken one is found. Pure. */
import { createHash } from "node:crypto";
import {
  AUDIT_GENESIS,
  type AuditDeed,
  AuditEntry,
  auditSubject,
  decode,
} from "@swarm-mesh/protocol";
import canonicalize from "canonicalize";
import { z } from "zod";

/** A place in the trail, and the hash of the entry there: kept elsewhere, it shows what was cut off. */
export interface AuditAnchor {
  readonly seq: number;
  readonly hash: string;
}

/** What an entry is put behind; `seq` 0: nothing. */
export const NO_ENTRY: AuditAnchor = { seq: 0, hash: AUDIT_GENESIS };

/** A new entry, and its text as it is stored. */
export interface Sealed {
  readonly entry: AuditEntry;
  readonly text: string;
}

/** Makes the entry that follows `last`. */
export function sealEntry(
  deed: AuditDeed & Pick<AuditEntry, "id" | "at" | "by">,
  last: AuditAnchor,
): Sealed {
  const unsealed = { ...deed, v: 1 as const, seq: last.seq + 1, prev: last.hash };
  const entry = { ...unsealed, hash: hashOf(unsealed) };
  return { entry, text: canonical(entry) };
}

/** One line of an exported trail, or one message of the stream. */
export interface AuditLine {
  readonly text: string;
  /** Where the stream has it; `undefined` in a file. */
  readonly seq?: number;
  readonly subject?: string;
}

/** What is wrong, and where: `seq` is the entry's own, or the stream's when it has none. */
export interface AuditProblem {
  readonly seq: number;
  readonly kind: "anchor" | "cut" | "edited" | "misplaced" | "missing" | "unlinked" | "unreadable";
  readonly text: string;
}

/** What came of looking at a trail. */
export interface AuditVerdict {
  readonly entries: number;
  /** The first entry's place; 0: there is none. */
  readonly first: number;
  /** The newest entry: an anchor to keep elsewhere. */
  readonly head: AuditAnchor;
  /** The first of them, at most 100. */
  readonly problems: readonly AuditProblem[];
  /** How many there are in all. */
  readonly problemCount: number;
}

const PROBLEMS_MAX = 100;

/** Looks at a trail, entry by entry, in the order in which they are kept. */
export class AuditVerifier {
  readonly #anchor: AuditAnchor | undefined;
  readonly #problems: AuditProblem[] = [];
  #problemCount = 0;
  #entries = 0;
  #first = 0;
  #last: AuditAnchor = NO_ENTRY;
  #anchored = false;

  constructor(anchor?: AuditAnchor) {
    this.#anchor = anchor;
  }

  /** The next entry. */
  add(line: AuditLine): void {
    const place = line.seq ?? this.#last.seq + 1;
    this.#entries++;
    const read = decode(z.record(z.string(), z.unknown()), Buffer.from(line.text));
    const parsed = read.ok ? AuditEntry.safeParse(read.value) : undefined;
    if (!read.ok || parsed?.success !== true) {
      this.#problem("unreadable", place, "it is no entry of an audit trail");
      // What comes after it is linked to what it was, which nobody knows.
      this.#last = { seq: place, hash: "" };
      return;
    }
    const entry = parsed.data;
    if (!isWhole(line.text, read.value)) {
      this.#problem("edited", entry.seq, "its contents are not those that were hashed");
    }
    this.#place(entry, line);
    this.#link(entry);
    if (this.#entries === 1) this.#first = entry.seq;
    this.#meetAnchor(entry);
    this.#last = { seq: entry.seq, hash: entry.hash };
  }

  /** The end. `lastSeq`: how far the stream has counted. */
  finish(lastSeq = this.#last.seq): AuditVerdict {
    const anchor = this.#anchor;
    if (lastSeq > this.#last.seq) {
      this.#problem("cut", this.#last.seq + 1, `the stream has had entries up to ${lastSeq}`);
    }
    if (anchor !== undefined && !this.#anchored) {
      const where = anchor.seq > this.#last.seq ? "the trail ends before it" : "it is not there";
      this.#problem("cut", anchor.seq, `the anchor is of entry ${anchor.seq}, and ${where}`);
    }
    return {
      entries: this.#entries,
      first: this.#first,
      head: this.#last,
      problems: this.#problems,
      problemCount: this.#problemCount,
    };
  }

  #place(entry: AuditEntry, line: AuditLine): void {
    if (line.seq !== undefined && line.seq !== entry.seq) {
      this.#problem("misplaced", line.seq, `entry ${entry.seq} is where entry ${line.seq} was`);
    }
    if (line.subject !== undefined && line.subject !== auditSubject(entry.action)) {
      this.#problem("edited", entry.seq, `it is on the subject ${line.subject}`);
    }
    const next = this.#last.seq + 1;
    if (entry.seq < next) {
      this.#problem("misplaced", entry.seq, `it comes after entry ${this.#last.seq}`);
    }
    if (entry.seq > next && !this.#followsAnchor(entry)) {
      const missing = entry.seq - 1 === next ? `${next} is` : `${next} to ${entry.seq - 1} are`;
      this.#problem("missing", next, `${missing} not there`);
    }
  }

  #link(entry: AuditEntry): void {
    if (this.#followsAnchor(entry)) {
      this.#anchored = true;
      if (entry.prev !== this.#anchor?.hash) {
        this.#problem("anchor", entry.seq, "the entry before it was not the one of the anchor");
      }
      return;
    }
    // The link of what follows a gap is to what is missing: the gap is told already.
    if (entry.seq !== this.#last.seq + 1 || this.#last.hash === "") return;
    if (entry.prev !== this.#last.hash) {
      const before =
        this.#last.seq === 0 ? "the beginning" : `entry ${this.#last.seq} as it is here`;
      this.#problem("unlinked", entry.seq, `it was not written after ${before}`);
    }
  }

  /** Does the trail begin here, just behind what the anchor is of? */
  #followsAnchor(entry: AuditEntry): boolean {
    return this.#last.seq === 0 && entry.seq > 1 && this.#anchor?.seq === entry.seq - 1;
  }

  #meetAnchor({ seq, hash }: AuditEntry): void {
    if (this.#anchor?.seq !== seq) return;
    this.#anchored = true;
    if (this.#anchor.hash !== hash) {
      this.#problem("anchor", seq, "it is not the entry that the anchor was made of");
    }
  }

  #problem(kind: AuditProblem["kind"], seq: number, text: string): void {
    this.#problemCount++;
    if (this.#problems.length < PROBLEMS_MAX) this.#problems.push({ seq, kind, text });
  }
}

/** Is the text what was written, and the hash that of the rest? */
function isWhole(text: string, value: Readonly<Record<string, unknown>>): boolean {
  const { hash, ...unsealed } = value;
  try {
    return hash === hashOf(unsealed) && text === canonical(value);
  } catch {
    // A number that JSON can say and no writer can mean, as 1e999.
    return false;
  }
}

function hashOf(unsealed: Readonly<Record<string, unknown>>): string {
  return createHash("sha256").update(canonical(unsealed)).digest("hex");
}

function canonical(value: Readonly<Record<string, unknown>>): string {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError("an entry is an object");
  return text;
}
