/**
 * Saves a task's checkpoints, one after another, so that an older one never replaces a newer.
 *
 * While one is on its way only the newest of those that wait is kept: whoever asked for an older one
 * is answered when the newer is durable.
 */
import type { Requester, Stored } from "@swarm-mesh/bus";
import { CHECKPOINT_MAX_BYTES, encode, Header } from "@swarm-mesh/protocol";
import {
  backoffMs,
  type Clock,
  type Latch,
  latch,
  type Random,
  REQUEST_BACKOFF,
} from "@swarm-mesh/runtime";
import { headers } from "nats";
import { CheckpointError } from "./handler.ts";

export interface SaverOptions {
  readonly requester: Requester;
  readonly clock: Clock;
  readonly random: Random;
  readonly subject: string;
  readonly attempt: number;
}

/** How long one try to store a checkpoint may take before it is sent again. */
const STORE_TIMEOUT_MS = 2_000;

interface Waiting {
  readonly bytes: Uint8Array;
  readonly done: Latch<void>;
}

export class Saver {
  readonly #options: SaverOptions;
  readonly #closed = new AbortController();
  #waiting: Waiting | undefined;
  #saving = false;

  constructor(options: SaverOptions) {
    this.#options = options;
  }

  /** Resolves when `state`, or a newer one, is durable. Rejects with {@link CheckpointError}. */
  async save(state: unknown): Promise<void> {
    const bytes = bytesOf(state);
    if (bytes.length > CHECKPOINT_MAX_BYTES) {
      throw new CheckpointError(
        "payload_too_large",
        `the checkpoint has ${bytes.length} bytes, ${CHECKPOINT_MAX_BYTES} are allowed`,
      );
    }
    if (this.#closed.signal.aborted) throw taskOver();
    const done = this.#waiting?.done ?? latch<void>();
    this.#waiting = { bytes, done };
    if (!this.#saving) void this.#saveAll();
    return done.promise;
  }

  /** Nothing is saved from now on: another try may be writing. */
  close(): void {
    this.#closed.abort();
  }

  async #saveAll(): Promise<void> {
    this.#saving = true;
    for (let next = this.#take(); next !== undefined; next = this.#take()) {
      const failure = await this.#store(next.bytes);
      if (failure === undefined) next.done.resolve();
      else next.done.reject(failure);
    }
    this.#saving = false;
  }

  #take(): Waiting | undefined {
    const next = this.#waiting;
    this.#waiting = undefined;
    return next;
  }

  /** Stores until the answer is certain; without a bound, because the task's own time is the bound. */
  async #store(bytes: Uint8Array): Promise<CheckpointError | undefined> {
    const { requester, clock, random, subject, attempt } = this.#options;
    const h = headers();
    h.set(Header.attempt, String(attempt));
    for (let failures = 1; !this.#closed.signal.aborted; failures++) {
      const stored = await storedOr(() =>
        requester.stored(subject, bytes, { headers: h, timeoutMs: STORE_TIMEOUT_MS }),
      );
      if (stored.kind === "stored") return undefined;
      if (stored.kind === "refused") return new CheckpointError("refused", stored.message);
      await clock.sleep(backoffMs(REQUEST_BACKOFF, failures, random), this.#closed.signal);
    }
    return taskOver();
  }
}

/** A closed connection is one more reason not to know. */
async function storedOr(store: () => Promise<Stored>): Promise<Stored> {
  try {
    return await store();
  } catch (error) {
    return { kind: "unknown", message: String(error) };
  }
}

/** What a checkpoint after the task's end rejects with. */
export function taskOver(): CheckpointError {
  return new CheckpointError("task_over", "the task is over, nothing more is saved");
}

function bytesOf(state: unknown): Uint8Array {
  if (state instanceof Uint8Array) return state;
  return new TextEncoder().encode(typeof state === "string" ? state : encode(state ?? null));
}
