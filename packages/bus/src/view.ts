/**
 * A bucket kept in memory: a view that follows every change and never goes silently stale.
 *
 * A watch is a hint. It is started anew when the link returns, and every few seconds its position is
 * compared with the bucket's last sequence: a link that died without a word leaves a watch that
 * looks alive and hears nothing (20 of 20 updates missed in the trial). Each new start reads
 * everything again and drops what is no longer there.
 */

import { DeliverPolicy, type JetStreamManager, type JsMsg, jetstream } from "@nats-io/jetstream";
import { type BucketSpec, type Decoded, kvSubject } from "@swarm-mesh/protocol";
import {
  backoffMs,
  type Clock,
  hedged,
  type Log,
  systemRandom,
  ticks,
  together,
} from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";
import { API_TIMEOUT_MS, ASK_AGAIN_MS, bucketStream, isMarker, readEntry } from "./bucket.ts";
import { watchForgetting } from "./connect.ts";
import { goodHeaders } from "./sent-headers.ts";

/** One key's change, after it was applied. */
export interface Change<T> {
  readonly key: string;
  /** `undefined`: the key was not there. */
  readonly before: T | undefined;
  /** `undefined`: deleted, expired, or found gone after the link was down. */
  readonly after: T | undefined;
  readonly revision: number;
}

export interface BucketViewOptions<T> {
  readonly nc: NatsConnection;
  readonly manager: JetStreamManager;
  readonly bucket: BucketSpec;
  readonly clock: Clock;
  readonly log: Log;
  readonly decode: (key: string, value: Uint8Array) => Decoded<T>;
  /** Called for each change, in the bucket's order. */
  readonly onChange?: (change: Change<T>) => void;
  /** Called each time the view has caught up with the bucket as it was when the watch started. */
  readonly onCurrent?: () => void;
}

interface Held<T> {
  readonly value: T;
  readonly revision: number;
  readonly generation: number;
}

/** How often the position is compared with the bucket's; a stale view lives at most twice as long. */
const COMPARE_INTERVAL_MS = 4_000;
/** Between two tries to watch. The longest is how late a view notices that the store is back. */
const WATCH_BACKOFF = { baseMs: 200, maxMs: 500 };
/**
 * Where the server keeps how far a watch is. In a file, as the library's own watch of a bucket has it,
 * it is written ten times a second while anything changes; and a watch does not outlive a server anyway.
 */
const IN_MEMORY = { mem_storage: true };
/** Keys that are read from the store at a time. */
const READS_MAX = 256;

export class BucketView<T> {
  readonly #options: BucketViewOptions<T>;
  readonly #held = new Map<string, Held<T>>();
  #generation = 0;
  #cursor = 0;
  #current = false;
  #restart = new AbortController();

  constructor(options: BucketViewOptions<T>) {
    this.#options = options;
  }

  /** Has the view caught up since the last start of its watch? */
  get current(): boolean {
    return this.#current;
  }

  get size(): number {
    return this.#held.size;
  }

  get(key: string): T | undefined {
    return this.#held.get(key)?.value;
  }

  /** The key's value with the revision that wrote it. */
  entry(key: string): { readonly value: T; readonly revision: number } | undefined {
    return this.#held.get(key);
  }

  /** Every key with its value. */
  *entries(): Generator<readonly [string, T]> {
    for (const [key, held] of this.#held) yield [key, held.value];
  }

  /** Follows the bucket until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await together(signal, [
      (inner) => this.#watchAgainAndAgain(inner),
      (inner) => this.#compare(inner),
      (inner) => watchForgetting(this.#options.nc, (reason) => this.#startAgain(reason), inner),
    ]);
  }

  async #watchAgainAndAgain(signal: AbortSignal): Promise<void> {
    const { clock, log, bucket } = this.#options;
    for (let failures = 0; !signal.aborted; ) {
      this.#restart = new AbortController();
      try {
        await this.#watchOnce(AbortSignal.any([signal, this.#restart.signal]));
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        if (this.#current) failures = 0;
        // Said once for as long as it lasts.
        const said = { bucket: bucket.name, err: error };
        if (++failures === 1) log.warn(said, "watch failed, trying on");
        else log.debug(said, "watch failed");
      }
      const waitMs = backoffMs(WATCH_BACKOFF, Math.max(1, failures), systemRandom);
      if (!this.#restart.signal.aborted) await clock.sleep(waitMs, signal);
    }
  }

  async #watchOnce(signal: AbortSignal): Promise<void> {
    const { nc, bucket, clock, manager } = this.#options;
    this.#generation++;
    this.#current = false;
    const ask = () => manager.streams.info(bucketStream(bucket));
    const info = await hedged(ask, { clock, everyMs: ASK_AGAIN_MS });
    // Behind an empty watch there is nothing to wait for.
    const target = info.state.messages === 0 ? 0 : info.state.last_seq;
    const js = jetstream(nc, { timeout: API_TIMEOUT_MS });
    const consumer = await js.consumers.getPushConsumer(bucketStream(bucket), {
      filter_subjects: kvSubject(bucket.name, ">"),
      deliver_policy: DeliverPolicy.LastPerSubject,
      ...IN_MEMORY,
    });
    const changes = await consumer.consume();
    const stop = (): void => changes.stop();
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const prefixLength = kvSubject(bucket.name, "").length;
    try {
      if (target === 0) await this.#caughtUp(0, signal);
      for await (const message of changes) {
        if (signal.aborted) return;
        const { streamSequence: revision, pending } = message.info;
        this.#apply(message.subject.slice(prefixLength), putValue(message), revision);
        if (!this.#current && (pending === 0 || revision >= target)) {
          await this.#caughtUp(target, signal);
        }
      }
    } finally {
      signal.removeEventListener("abort", stop);
      changes.stop();
    }
  }

  #apply(key: string, bytes: Uint8Array | undefined, revision: number): void {
    const before = this.#held.get(key);
    this.#cursor = Math.max(this.#cursor, revision);
    if (before !== undefined && before.revision >= revision) {
      this.#held.set(key, { ...before, generation: this.#generation });
      return;
    }
    if (bytes === undefined) {
      this.#remove(key, revision);
      return;
    }
    const decoded = this.#options.decode(key, bytes);
    if (!decoded.ok) {
      const { log, bucket } = this.#options;
      log.warn({ bucket: bucket.name, key, revision, problem: decoded.problem }, "entry ignored");
      return;
    }
    this.#held.set(key, { value: decoded.value, revision, generation: this.#generation });
    this.#options.onChange?.({ key, before: before?.value, after: decoded.value, revision });
  }

  #remove(key: string, revision: number): void {
    const before = this.#held.get(key);
    if (!this.#held.delete(key)) return;
    this.#options.onChange?.({ key, before: before?.value, after: undefined, revision });
  }

  /**
   * Everything stored was handed out. What this generation did not show is gone, or was written again
   * while the watch began and comes later: the store knows which.
   */
  async #caughtUp(target: number, signal: AbortSignal): Promise<void> {
    const { manager, bucket } = this.#options;
    this.#cursor = Math.max(this.#cursor, target);
    const unseen = [...this.#held].filter(([, held]) => held.generation !== this.#generation);
    for (let from = 0; from < unseen.length; from += READS_MAX) {
      const reads = unseen.slice(from, from + READS_MAX).map(async ([key, held]) => {
        const entry = await readEntry(manager, bucket, key);
        if (entry?.value === undefined) this.#remove(key, held.revision);
        else this.#apply(key, entry.value, entry.revision);
      });
      await Promise.all(reads);
      if (signal.aborted) return;
    }
    this.#current = true;
    this.#options.onCurrent?.();
  }

  /** Starts the watch anew when the bucket has been ahead of it for two looks in a row. */
  async #compare(signal: AbortSignal): Promise<void> {
    const { clock, manager, bucket } = this.#options;
    let behindSince: number | undefined;
    for await (const _ of ticks({ clock, everyMs: COMPARE_INTERVAL_MS, signal })) {
      const info = await manager.streams.info(bucketStream(bucket)).catch(() => undefined);
      if (info === undefined || signal.aborted) continue;
      const behind = this.#current && this.#cursor < info.state.last_seq;
      const stuck = behindSince !== undefined && this.#cursor <= behindSince;
      if (behind && stuck) this.#startAgain("watch fell behind");
      behindSince = behind ? this.#cursor : undefined;
    }
  }

  #startAgain(reason: string): void {
    const { log, bucket } = this.#options;
    log.info({ bucket: bucket.name, reason }, "watch started again");
    this.#restart.abort();
  }
}

/** The entry's value; `undefined` for one that says that the key is gone. */
function putValue(message: JsMsg): Uint8Array | undefined {
  const { data } = message;
  if (data.length === 0) return undefined;
  // Headers nobody can read: the server's own markers have none such, so someone put it there.
  return isMarker(goodHeaders(() => message.headers)) ? undefined : data;
}
