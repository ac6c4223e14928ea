/** Many submits with a bounded number on their way: as fast as the store, in constant memory. */
import { type Latch, latch } from "@swarm-mesh/runtime";
import { onAbort } from "./abort.ts";
import { SubmitError } from "./errors.ts";
import { prepare, type Signing, type SubmitItem } from "./submission.ts";
import type { SubmitOutcome, Submitter } from "./submitter.ts";

/** What became of the item at `index`. */
export type SubmitResult =
  | {
      readonly kind: "submitted";
      readonly index: number;
      readonly id: string;
      readonly duplicate: boolean;
    }
  | {
      readonly kind: "failed";
      readonly index: number;
      readonly id: string | undefined;
      readonly error: SubmitError;
    };

/** How many submits are sent at once. */
export interface SubmitManyOptions {
  /** Submits on their way at once, from 1 to 4 096. More bring no more throughput. */
  readonly concurrency?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The throughput of one connection is reached at about this many; half of it costs 40 %. */
const CONCURRENCY_DEFAULT = 512;
const CONCURRENCY_MAX = 4_096;

/** What is submitted, and by what. */
interface Work {
  readonly submitter: Submitter;
  readonly items: Iterable<SubmitItem> | AsyncIterable<SubmitItem>;
  /** Who signs each, if anyone does. */
  readonly signing: () => Signing | undefined;
}

type Source = Iterator<SubmitItem> | AsyncIterator<SubmitItem>;

/**
 * Submits the items and yields what became of each, in the order they settle. Takes no more items
 * while results wait to be read. Whoever stops reading stops the taking; what is on its way still
 * arrives.
 */
export async function* submitMany(
  work: Work,
  options: SubmitManyOptions,
): AsyncGenerator<SubmitResult, void, undefined> {
  const window = new Window(work, options);
  try {
    for (;;) {
      await window.advance();
      const settled = window.take();
      if (settled.length === 0 && window.finished) return;
      yield* settled;
    }
  } finally {
    await window.release();
  }
}

function sourceOf(items: Iterable<SubmitItem> | AsyncIterable<SubmitItem>): Source {
  return Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
}

class Window {
  readonly #work: Work;
  readonly #source: Source;
  readonly #signal: AbortSignal | undefined;
  readonly #width: number;
  #settled: SubmitResult[] = [];
  #onTheWay = 0;
  #nextIndex = 0;
  #exhausted = false;
  #pulling = false;
  #pullFailure: { readonly reason: unknown } | undefined;
  #change: Latch<void> = latch();
  readonly #stopListening: () => void;

  constructor(work: Work, options: SubmitManyOptions) {
    const wanted = Math.trunc(options.concurrency ?? CONCURRENCY_DEFAULT);
    this.#work = work;
    this.#source = sourceOf(work.items);
    this.#signal = options.signal;
    this.#width = Math.min(Math.max(wanted || 1, 1), CONCURRENCY_MAX);
    this.#stopListening = onAbort(options.signal, () => {
      this.#exhausted = true;
      this.#change.resolve();
    });
  }

  get finished(): boolean {
    return this.#exhausted && this.#onTheWay === 0 && this.#settled.length === 0;
  }

  take(): readonly SubmitResult[] {
    const settled = this.#settled;
    this.#settled = [];
    return settled;
  }

  /** Fills the window, then resolves when something has settled or nothing is left. */
  async advance(): Promise<void> {
    for (;;) {
      if (this.#pullFailure !== undefined) throw this.#pullFailure.reason;
      const room = this.#onTheWay < this.#width && !this.#exhausted;
      if (room && !this.#pulling) void this.#pull();
      if (this.#settled.length > 0 || this.finished) return;
      await this.#change.promise;
      this.#change = latch();
    }
  }

  /** Tells the source that no more is wanted. */
  async release(): Promise<void> {
    this.#stopListening();
    if (this.#exhausted && this.#signal?.aborted !== true) return;
    this.#exhausted = true;
    const released = this.#source.return?.();
    // A generator that is being asked for its next item ends only after it has given it.
    if (!this.#pulling) await released;
    else Promise.resolve(released).catch(() => undefined);
  }

  async #pull(): Promise<void> {
    this.#pulling = true;
    try {
      while (!this.#exhausted && this.#onTheWay < this.#width) {
        const answer = this.#source.next();
        // A plain iterable is read without a turn of the event loop for each item.
        const next = answer instanceof Promise ? await answer : answer;
        if (next.done === true) this.#exhausted = true;
        else if (!this.#exhausted) this.#send(next.value);
      }
    } catch (reason) {
      this.#exhausted = true;
      this.#pullFailure = { reason };
    } finally {
      this.#pulling = false;
      this.#change.resolve();
    }
  }

  #send(item: SubmitItem): void {
    const index = this.#nextIndex++;
    const onOutcome = (outcome: SubmitOutcome): void => {
      this.#onTheWay--;
      this.#settled.push(resultOf(index, outcome));
      this.#change.resolve();
    };
    this.#onTheWay++;
    try {
      const submission = prepare(item.capability, item.payload, item, this.#work.signing());
      this.#work.submitter.submit(submission, onOutcome, this.#signal);
    } catch (error) {
      if (!(error instanceof SubmitError)) throw error;
      onOutcome(error);
    }
  }
}

function resultOf(index: number, outcome: SubmitOutcome): SubmitResult {
  return outcome instanceof SubmitError
    ? { kind: "failed", index, id: outcome.taskId, error: outcome }
    : { kind: "submitted", index, ...outcome };
}
