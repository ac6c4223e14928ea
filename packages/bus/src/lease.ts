/**
 * A lease: a key with a TTL that its holder renews.
 *
 * Trust ends at *renewal sent + TTL − margin*, on the holder's own monotonic clock, so a slow answer
 * cannot stretch it; the server lets the key go at *renewal stored + TTL*, which is later. The
 * holder therefore stops before anyone else may start.
 *
 * Every renewal is a compare-and-swap on the holder's own last revision: whoever lost the lease
 * learns it from the refusal, and the revision of the granting write is a number that only grows.
 */
import { type BucketSpec, kvSubject } from "@swarm-mesh/protocol";
import type { Clock } from "@swarm-mesh/runtime";
import { headers } from "nats";
import type { Requester, Stored } from "./requester.ts";

export interface LeaseOptions {
  readonly bucket: BucketSpec;
  readonly key: string;
  /** Whole seconds: the server cuts the fraction. At least 1 000. */
  readonly ttlMs: number;
  readonly requester: Requester;
  readonly clock: Clock;
  /** The value to store. */
  readonly value: () => string;
  /** Reads the key's revision and value back after an answer that did not come. Absent: no right to. */
  readonly readBack?: () => Promise<{ readonly revision: number; readonly ours: boolean }>;
}

/**
 * `lost`: another holds it, for good. `unknown`: no answer, or none that says anything. `disputed`: the key
 * is not as we left it, but an earlier renewal of ours was not answered and may be what changed it;
 * only where there is no {@link LeaseOptions.readBack} to find out.
 */
export type RenewResult = "renewed" | "lost" | "unknown" | "disputed";

/** The part of the TTL by which trust ends early: room for a timer that fires late. */
const MARGIN_SHARE = 0.1;

export class Lease {
  readonly #options: LeaseOptions;
  readonly #subject: string;
  #revision = 0;
  #deadline = Number.NEGATIVE_INFINITY;
  #doubtful = false;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#subject = kvSubject(options.bucket.name, options.key);
  }

  /** How often to renew: a third of the TTL. */
  get renewEveryMs(): number {
    return this.#options.ttlMs / 3;
  }

  /** Milliseconds for which the holder may still act; 0 or less when it must not. */
  remainingMs(): number {
    return this.#deadline - this.#options.clock.elapsed();
  }

  /** May the holder act now? Ask before every effect. */
  trusted(): boolean {
    return this.remainingMs() > 0;
  }

  /**
   * Takes the lease when the key's revision is still `expected` (0: no such key; `undefined`:
   * whatever it is). Returns the revision of the granting write, or why it was not granted.
   */
  async grant(expected: number | undefined): Promise<Stored> {
    const sent = this.#options.clock.elapsed();
    const stored = await this.#write(expected);
    if (stored.kind === "stored") this.#accept(stored.revision, sent);
    return stored;
  }

  /** For how long one answer is trusted, in milliseconds, from when it was asked for. */
  get trustMs(): number {
    return this.#options.ttlMs * (1 - MARGIN_SHARE);
  }

  /** Renews. `lost` is final; on `unknown` renew again soon, as long as {@link trusted} holds. */
  async renew(): Promise<RenewResult> {
    const sent = this.#options.clock.elapsed();
    const stored = await this.#write(this.#revision);
    if (stored.kind === "stored") {
      this.#accept(stored.revision, sent);
      return "renewed";
    }
    if (stored.kind !== "conflict") {
      this.#doubtful = true;
      return "unknown";
    }
    return this.#doubtful ? this.#recover() : this.#lose();
  }

  /** Gives the lease back, so that another may take it at once. The TTL is the hedge. */
  async revoke(): Promise<void> {
    if (!this.trusted()) return;
    this.#deadline = Number.NEGATIVE_INFINITY;
    const h = headers();
    h.set("KV-Operation", "PURGE");
    h.set("Nats-Rollup", "sub");
    h.set("Nats-TTL", `${Math.round(this.#options.bucket.markerTtlMs / 1_000)}s`);
    h.set("Nats-Expected-Last-Subject-Sequence", String(this.#revision));
    await this.#options.requester.stored(this.#subject, "", { headers: h, timeoutMs: 1_000 });
  }

  /** Ends trust at once, without a word to the server. */
  drop(): void {
    this.#deadline = Number.NEGATIVE_INFINITY;
  }

  #accept(revision: number, sent: number): void {
    this.#revision = revision;
    this.#doubtful = false;
    this.#deadline = sent + this.trustMs;
  }

  #lose(): "lost" {
    this.drop();
    return "lost";
  }

  /** A renewal whose answer never came may have been stored: then the conflict is with ourselves. */
  async #recover(): Promise<RenewResult> {
    if (this.#options.readBack === undefined) return "disputed";
    try {
      const current = await this.#options.readBack();
      if (!current.ours) return this.#lose();
      this.#revision = current.revision;
      return "unknown";
    } catch {
      // Nothing was learnt; the deadline decides.
      return "unknown";
    }
  }

  #write(expected: number | undefined): Promise<Stored> {
    const h = headers();
    h.set("Nats-TTL", `${Math.floor(this.#options.ttlMs / 1_000)}s`);
    if (expected !== undefined) h.set("Nats-Expected-Last-Subject-Sequence", String(expected));
    return this.#options.requester.stored(this.#subject, this.#options.value(), {
      headers: h,
      // An answer later than a third of the TTL is no use: the next renewal is due.
      timeoutMs: this.#options.ttlMs / 3,
    });
  }
}
