/** Reading and writing KV buckets: through the stream's leader, with revisions. */
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { type BucketSpec, isNothingStored, kvSubject } from "@swarm-mesh/protocol";
import { hedged, systemClock } from "@swarm-mesh/runtime";
import type { MsgHdrs, NatsConnection, Payload } from "nats";
import { type HeaderBlock, type HeaderEntry, headerBlock } from "./header-block.ts";
import type { Requester, Stored } from "./requester.ts";
import { goodHeaders } from "./sent-headers.ts";

/** A stored value, or the marker that says it is gone. */
export interface Entry {
  readonly revision: number;
  /** `undefined`: deleted or expired. */
  readonly value: Uint8Array | undefined;
  readonly headers: MsgHdrs | undefined;
}

/** The stream beneath a bucket. */
export function bucketStream(bucket: BucketSpec): string {
  return `KV_${bucket.name}`;
}

/** Does a stored message say that its key is gone? */
export function isMarker(h: MsgHdrs | undefined): boolean {
  if (h === undefined) return false;
  const operation = h.get("KV-Operation");
  return operation === "DEL" || operation === "PURGE" || h.has("Nats-Marker-Reason");
}

/** A request that a lost link swallowed is given up after it and sent again. */
export const API_TIMEOUT_MS = 2_000;
/**
 * A question on which work waits is asked again after this without a word, see `hedged`: servers that
 * have just started, or are electing, drop what they cannot answer yet (seen: 2 s lost with each).
 */
export const ASK_AGAIN_MS = 500;

/** Opens the JetStream management API without asking the server for permission to ask. */
export function openManager(nc: NatsConnection): Promise<JetStreamManager> {
  return jetstreamManager(nc, { checkAPI: false, timeout: API_TIMEOUT_MS });
}

/** A bucket, for those who decide by what it holds. */
export class Bucket {
  readonly spec: BucketSpec;
  readonly #manager: JetStreamManager;
  readonly #requester: Requester;

  constructor(spec: BucketSpec, manager: JetStreamManager, requester: Requester) {
    this.spec = spec;
    this.#manager = manager;
    this.#requester = requester;
  }

  /** The key's last entry as the stream's leader has it. A follower's answer may be old. */
  read(key: string): Promise<Entry | undefined> {
    return readEntry(this.#manager, this.spec, key);
  }

  /** {@link read}, for one on which all else waits: asked again when there is no word. */
  readSoon(key: string): Promise<Entry | undefined> {
    return hedged(() => this.read(key), { clock: systemClock, everyMs: ASK_AGAIN_MS });
  }

  /** Writes `key` when its revision is still `expected`; 0: when it has never been written. */
  write(key: string, value: Payload, expected: number): Promise<Stored> {
    return this.#requester.stored(kvSubject(this.spec.name, key), value, {
      headers: expecting(expected),
    });
  }
}

/** The key's last entry as the stream's leader has it; `undefined` when there is none. */
export async function readEntry(
  manager: JetStreamManager,
  spec: BucketSpec,
  key: string,
): Promise<Entry | undefined> {
  try {
    const message = await manager.streams.getMessage(bucketStream(spec), {
      last_by_subj: kvSubject(spec.name, key),
    });
    if (message === null) return undefined;
    const headers = goodHeaders(() => message.header);
    return { revision: message.seq, value: isMarker(headers) ? undefined : message.data, headers };
  } catch (error) {
    if (isNothingStored(error)) return undefined;
    throw error;
  }
}

/** Headers of a compare-and-swap on the subject's last revision, and `more`. */
export function expecting(revision: number, more: readonly HeaderEntry[] = []): HeaderBlock {
  return revision === 0 && more.length === 0 ? EXPECTING_NONE : expectingAt(revision, more);
}

// Every first record is written with it.
const EXPECTING_NONE = expectingAt(0, []);

function expectingAt(revision: number, more: readonly HeaderEntry[]): HeaderBlock {
  return headerBlock([["Nats-Expected-Last-Subject-Sequence", String(revision)], ...more]);
}
