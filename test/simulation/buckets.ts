/**
 * Key-value buckets as the server has them: revisions, compare-and-swap, leases that expire, watches.
 *
 * A revision is a number of the whole bucket. A lease that is not renewed leaves a marker, never
 * early and up to 250 ms late; the marker itself goes without a word. (All measured on a server.)
 */
import type { Stored } from "@swarm-mesh/bus";
import type { MsgHdrs } from "nats";
import type { Session } from "./network.ts";
import type { Dice, Scheduler, SimEvent } from "./scheduler.ts";

const MARKER_TTL_MS = 60_000;
const EXPIRY_LATE_MS = 250;

export interface Entry {
  readonly key: string;
  readonly revision: number;
  /** `undefined`: a marker, which says that the key is gone. */
  readonly value: unknown;
  readonly headers: MsgHdrs | undefined;
}

export interface WriteOptions {
  /** The revision the key must have; `undefined`: any. */
  readonly expected: number | undefined;
  readonly ttlMs: number | undefined;
  readonly headers?: MsgHdrs | undefined;
}

/** A change that was accepted. */
export type OnAccepted = (bucket: string, entry: Entry, before: Entry | undefined) => void;

export class Bucket {
  readonly name: string;
  lastRevision = 0;
  readonly #scheduler: Scheduler;
  readonly #dice: Dice;
  readonly #onAccepted: OnAccepted;
  readonly isUp: () => boolean;
  readonly #entries = new Map<string, Entry>();
  readonly #expiries = new Map<string, SimEvent>();
  readonly #watches = new Set<Watch>();

  constructor(
    name: string,
    server: { readonly scheduler: Scheduler; readonly dice: Dice; readonly isUp: () => boolean },
    onAccepted: OnAccepted,
  ) {
    this.name = name;
    this.#scheduler = server.scheduler;
    this.#dice = server.dice;
    this.isUp = server.isUp;
    this.#onAccepted = onAccepted;
  }

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  entries(): IterableIterator<Entry> {
    return this.#entries.values();
  }

  /** Writes the key, or with a value of `undefined` its marker. */
  write(key: string, value: unknown, { expected, ttlMs, headers }: WriteOptions): Stored {
    const before = this.#entries.get(key);
    if (expected !== undefined && expected !== (before?.revision ?? 0)) return { kind: "conflict" };
    const revision = ++this.lastRevision;
    const entry = { key, revision, value, headers };
    this.#entries.set(key, entry);
    this.#scheduler.cancel(this.#expiries.get(key));
    this.#expiries.delete(key);
    if (ttlMs !== undefined) this.#expire(key, revision, ttlMs);
    this.#onAccepted(this.name, entry, before);
    for (const watch of this.#watches) watch.tell(entry);
    return { kind: "stored", revision, duplicate: false };
  }

  /** Follows the bucket from here on; what is there now is returned. */
  watch(session: Session, onEntry: (entry: Entry) => void): { entries: Entry[]; last: number } {
    const watch = new Watch(session, onEntry);
    this.#watches.add(watch);
    session.onEnd.push(() => this.#watches.delete(watch));
    return { entries: [...this.#entries.values()], last: this.lastRevision };
  }

  /** Watches go silent without a word, as one in a lost link does. */
  silence(session: Session): void {
    for (const watch of this.#watches) if (watch.session === session) this.#watches.delete(watch);
  }

  #expire(key: string, revision: number, ttlMs: number): void {
    const event = this.#scheduler.after(ttlMs + this.#dice.next() * EXPIRY_LATE_MS, () => {
      const entry = this.#entries.get(key);
      if (entry?.revision !== revision) return;
      if (!this.isUp()) this.#expire(key, revision, EXPIRY_LATE_MS);
      else if (entry.value === undefined) this.#entries.delete(key);
      else this.write(key, undefined, { expected: undefined, ttlMs: MARKER_TTL_MS });
    });
    this.#expiries.set(key, event);
  }
}

class Watch {
  readonly session: Session;
  readonly #onEntry: (entry: Entry) => void;

  constructor(session: Session, onEntry: (entry: Entry) => void) {
    this.session = session;
    this.#onEntry = onEntry;
  }

  tell(entry: Entry): void {
    this.session.link.toClient(this.session, () => this.#onEntry(entry), "stream");
  }
}
