/**
 * Writing to the audit trail: one chain, any number of writers.
 *
 * An entry names its place, and the stream takes it only when that is the next one. Whoever comes
 * second reads what the first wrote, and puts its own behind it.
 */
import { randomUUID } from "node:crypto";
import type { JetStreamManager } from "@nats-io/jetstream";
import {
  AUDIT_GENESIS,
  type AuditDeed,
  AuditEntry,
  type AuditWho,
  auditSubject,
  decode,
  isNothingStored,
  MESH_AUDIT,
} from "@swarm-mesh/protocol";
import {
  type BackoffPolicy,
  backoffMs,
  type Clock,
  type Counter,
  isoTime,
  type Log,
  type Random,
  REQUEST_BACKOFF,
} from "@swarm-mesh/runtime";
import type { Msg } from "nats";
import { z } from "zod";
import { type AuditAnchor, NO_ENTRY, sealEntry } from "./audit-chain.ts";
import { headerBlock } from "./header-block.ts";
import type { Requester } from "./requester.ts";
import { goodHeaders } from "./sent-headers.ts";

/** The store does not take the entry: it is full, the entry too large, or this user may not write it. */
export class AuditError extends Error {
  override readonly name = "AuditError";
  readonly code = "not_audited";
  /** Will it never be taken, however often it is tried? */
  readonly forGood: boolean;

  constructor(message: string, forGood: boolean) {
    super(message);
    this.forGood = forGood;
  }
}

/** JetStream's `message size exceeds maximum allowed`. */
const TOO_LARGE = 10054;
/** Between two tries to write what the store refuses: a disk has room again when somebody makes some. */
const REFUSED_BACKOFF: BackoffPolicy = { baseMs: 1_000, maxMs: 60_000 };

export interface AuditTrailOptions {
  readonly requester: Requester;
  readonly manager: JetStreamManager;
  readonly clock: Clock;
  readonly random: Random;
  /** Who writes, as in the logs: `coordinator-1`. */
  readonly by: string;
}

/** How a write that is refused is told of while it is tried again. */
export interface AuditPatience {
  readonly log: Log;
  /** {@link auditRefusals}. */
  readonly refusals: Counter;
  readonly signal: AbortSignal;
}

export class AuditTrail {
  readonly #options: AuditTrailOptions;
  /** The end of the trail as it was seen last. */
  #last: AuditAnchor | undefined;

  constructor(options: AuditTrailOptions) {
    this.#options = options;
  }

  /**
   * Puts an entry at the end, and resolves with it once it is stored; with `undefined` when `signal`
   * aborts first: then it may be stored or not. Rejects with {@link AuditError}. One at a time.
   */
  async append(deed: AuditDeed, signal: AbortSignal): Promise<AuditEntry | undefined> {
    const { requester, clock, random, by } = this.#options;
    const id = randomUUID();
    const doubtful = new Set<number>();
    for (let failures = 1; !signal.aborted; failures++) {
      try {
        const last = this.#last ?? (await this.#readLast());
        const ours = await this.#storedAmong(doubtful, id);
        if (ours !== undefined) return ours;
        const at = isoTime(clock.now());
        const { entry, text } = sealEntry({ ...deed, id, at, by }, last);
        const stored = await requester.stored(auditSubject(entry.action), text, {
          headers: headerBlock([["Nats-Expected-Last-Sequence", String(last.seq)]]),
        });
        this.#last = undefined;
        if (stored.kind === "stored") {
          this.#last = { seq: entry.seq, hash: entry.hash };
          return entry;
        }
        if (stored.kind === "refused") {
          throw new AuditError(stored.message, stored.code === TOO_LARGE);
        }
        // If it is stored, or will be, it is where it was to be.
        if (stored.kind === "unknown") doubtful.add(entry.seq);
      } catch (error) {
        if (error instanceof AuditError) throw error;
        this.#last = undefined;
      }
      await clock.sleep(backoffMs(REQUEST_BACKOFF, failures, random), signal);
    }
    return undefined;
  }

  /**
   * {@link append} that tries on when the store refuses, until `signal` aborts. What it will never
   * take is left out, and told to the log. Does not reject. One at a time.
   */
  async appendPatiently(
    deed: AuditDeed,
    { log, refusals, signal }: AuditPatience,
  ): Promise<AuditEntry | undefined> {
    const { clock, random } = this.#options;
    for (let failures = 0; !signal.aborted; ) {
      try {
        const entry = await this.append(deed, signal);
        if (failures > 0) log.info({ failures }, "the audit trail is written again");
        return entry;
      } catch (error) {
        if (error instanceof AuditError && error.forGood) {
          log.error({ err: error, deed }, "this is not in the audit trail");
          return undefined;
        }
        refusals.inc();
        // Said once for as long as it lasts.
        if (++failures === 1) log.error({ err: error }, "the audit trail stands still, trying on");
        await clock.sleep(backoffMs(REFUSED_BACKOFF, failures, random), signal);
      }
    }
    return undefined;
  }

  /** The newest entry on the subject of `action`; `undefined`: there is none that can be read. */
  async newest(action: string): Promise<AuditEntry | undefined> {
    return this.#read({ last_by_subj: auditSubject(action) });
  }

  async #storedAmong(seqs: Iterable<number>, id: string): Promise<AuditEntry | undefined> {
    for (const seq of seqs) {
      const entry = await this.#read({ seq });
      if (entry?.id === id) return entry;
    }
    return undefined;
  }

  /** The next entry's place is behind all there ever was; its link is to the newest that is there. */
  async #readLast(): Promise<AuditAnchor> {
    const { state } = await this.#options.manager.streams.info(MESH_AUDIT.name);
    if (state.last_seq === 0) return NO_ENTRY;
    const newest = await this.#read({ seq: state.last_seq });
    return { seq: state.last_seq, hash: newest?.hash ?? AUDIT_GENESIS };
  }

  async #read(query: { seq: number } | { last_by_subj: string }): Promise<AuditEntry | undefined> {
    const message = await getMessage(this.#options.manager, query);
    if (message === undefined) return undefined;
    const entry = decode(AuditEntry, message);
    return entry.ok ? entry.value : undefined;
  }
}

async function getMessage(
  manager: JetStreamManager,
  query: { seq: number } | { last_by_subj: string },
): Promise<Uint8Array | undefined> {
  try {
    return (await manager.streams.getMessage(MESH_AUDIT.name, query))?.data;
  } catch (error) {
    if (isNothingStored(error)) return undefined;
    throw error;
  }
}

/** What the server tells a service of who asks from another account. */
const RequestInfo = z.looseObject({
  acc: z.string().optional(),
  user: z.string().optional(),
  name: z.string().optional(),
  host: z.string().optional(),
});

/**
 * Who sent a request: by the server's word when it came from another account, else by the inbox it
 * wants its answer in, which is its own word.
 */
export function askerOf(message: Msg): AuditWho {
  const reply = message.reply ?? "";
  if (!reply.startsWith(ACROSS_ACCOUNTS)) {
    const name = /^_INBOX_([\w-]+)\./.exec(reply)?.[1];
    return name === undefined ? {} : { name };
  }
  const text = goodHeaders(() => message.headers)?.get("Nats-Request-Info") ?? "";
  const info = decode(RequestInfo, Buffer.from(text));
  if (!info.ok) return {};
  const { acc, user, name, host } = info.value;
  return {
    ...(acc === undefined ? {} : { account: acc }),
    ...(user === undefined ? {} : { user }),
    ...(name === undefined ? {} : { name }),
    ...(host === undefined ? {} : { host }),
  };
}

/** How the server names where an answer to another account goes; only it makes such names there. */
const ACROSS_ACCOUNTS = "_R_.";
