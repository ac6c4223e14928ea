/**
 * A bucket kept in memory, as the bus package's `BucketView` keeps it: followed by a watch, started
 * anew when the link returns, and compared with the bucket's position every few seconds.
 */
import type { Bucket, Entry } from "./buckets.ts";
import type { Link } from "./network.ts";
import type { SimRequester } from "./requester.ts";

export interface ViewChange<T> {
  readonly key: string;
  readonly before: T | undefined;
  readonly after: T | undefined;
  readonly revision: number;
}

interface Held<T> {
  readonly value: T;
  readonly revision: number;
}

const COMPARE_INTERVAL_MS = 4_000;
const START_TIMEOUT_MS = 2_000;
const START_AGAIN_MS = 200;

export class View<T> {
  current = false;
  readonly #link: Link;
  readonly #requester: SimRequester;
  readonly #bucket: Bucket;
  readonly #onChange: (change: ViewChange<T>) => void;
  readonly #onCurrent: () => void;
  readonly #held = new Map<string, Held<T>>();
  #generation = 0;
  #cursor = 0;
  #behindSince: number | undefined;

  constructor(
    link: Link,
    requester: SimRequester,
    bucket: Bucket,
    on: { readonly change: (change: ViewChange<T>) => void; readonly current?: () => void },
  ) {
    this.#link = link;
    this.#requester = requester;
    this.#bucket = bucket;
    this.#onChange = on.change;
    this.#onCurrent = on.current ?? (() => undefined);
    link.onLink((up) => {
      if (up) this.start();
    });
    link.process.every(COMPARE_INTERVAL_MS, () => void this.#compare());
  }

  get(key: string): T | undefined {
    return this.#held.get(key)?.value;
  }

  entry(key: string): Held<T> | undefined {
    return this.#held.get(key);
  }

  entries(): IterableIterator<[string, Held<T>]> {
    return this.#held.entries();
  }

  /** Reads everything again and follows from there. */
  start(): void {
    const generation = ++this.#generation;
    this.current = false;
    this.#behindSince = undefined;
    const mine = (): boolean => generation === this.#generation;
    const { session } = this.#link;
    if (session === undefined) return;
    this.#link.toServer(() => {
      if (!this.#bucket.isUp()) return;
      const there = this.#bucket.watch(session, (entry) => mine() && this.#apply(entry));
      session.link.toClient(session, () => mine() && this.#caughtUp(there), "stream");
    }, "stream");
    this.#link.process.after(START_TIMEOUT_MS + START_AGAIN_MS, () => {
      if (mine() && !this.current) this.start();
    });
  }

  #caughtUp({
    entries,
    last,
  }: {
    readonly entries: readonly Entry[];
    readonly last: number;
  }): void {
    for (const entry of entries) this.#apply(entry);
    const there = new Set(entries.map((entry) => entry.key));
    for (const [key, { revision }] of this.#held) {
      if (!there.has(key) && revision <= last) this.#remove(key, revision);
    }
    this.#cursor = Math.max(this.#cursor, last);
    this.current = true;
    this.#onCurrent();
  }

  #apply({ key, revision, value }: Entry): void {
    this.#cursor = Math.max(this.#cursor, revision);
    const before = this.#held.get(key);
    if (before !== undefined && before.revision >= revision) return;
    if (value === undefined) {
      this.#remove(key, revision);
      return;
    }
    this.#held.set(key, { value: value as T, revision });
    this.#onChange({ key, before: before?.value, after: value as T, revision });
  }

  #remove(key: string, revision: number): void {
    const before = this.#held.get(key);
    if (!this.#held.delete(key)) return;
    this.#onChange({ key, before: before?.value, after: undefined, revision });
  }

  async #compare(): Promise<void> {
    const last = await this.#requester.ask(() => this.#bucket.lastRevision, START_TIMEOUT_MS);
    if (last === undefined) return;
    const behind = this.current && this.#cursor < last;
    if (behind && this.#behindSince !== undefined && this.#cursor <= this.#behindSince)
      this.start();
    else this.#behindSince = behind ? this.#cursor : undefined;
  }
}
