/**
 * Identities and tokens as they are stored: found through the streams' leader, written by
 * compare-and-swap. What changed is told at one place, {@link IdentitiesOptions.onChange}.
 */
import { createHash, randomBytes } from "node:crypto";
import type { JetStreamManager } from "@nats-io/jetstream";
import { Bucket, BucketView, expecting, type Requester } from "@swarm-mesh/bus";
import {
  decode,
  encode,
  IDENTITIES_BUCKET,
  Identity,
  joinToken,
  kvSubject,
  NODES_BUCKET,
  NodeRecord,
  TOKENS_BUCKET,
  TokenRecord,
} from "@swarm-mesh/protocol";
import type { Clock, Log } from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";
import { keysOf, revokedKeysOf, type TokenState } from "./admission.ts";

/** What became of who may connect, after it was stored. */
export type IdentityChange =
  | { readonly kind: "enrolled" | "revoked"; readonly identity: Identity }
  | {
      readonly kind: "token-issued";
      readonly node: string | undefined;
      readonly by: string;
      readonly ttlMs: number;
    };

export interface IdentitiesOptions {
  readonly nc: NatsConnection;
  readonly manager: JetStreamManager;
  readonly requester: Requester;
  readonly clock: Clock;
  readonly log: Log;
  /** How this mesh is named in its tokens. */
  readonly mesh: string;
  /** Told of each change that this replica stored. */
  readonly onChange: (change: IdentityChange) => void;
  /** Told of each key that was revoked, by whichever replica, when the watch shows it. */
  readonly onRevoked: (publicKey: string) => void;
}

/** An identity with the revision that the next write has to be made on; 0: there was none. */
export interface Stored {
  readonly identity: Identity | undefined;
  readonly revision: number;
}

/** A write that was not made, or of which nothing is known. Who asked may ask again. */
export class NotStoredError extends Error {
  override readonly name = "NotStoredError";
}

/** A token that was used is remembered for so long, to say so. */
const USED_TTL_SECONDS = 7 * 24 * 60 * 60;
const SECRET_BYTES = 32;

export class Identities {
  readonly #options: IdentitiesOptions;
  readonly #view: BucketView<Identity>;
  readonly #identities: Bucket;
  readonly #tokens: Bucket;
  readonly #nodes: Bucket;
  /** Node ids by every key they have or had: a hint where to look. */
  readonly #nodesByKey = new Map<string, string>();
  /** Every key that was revoked, by whomever: none is ever good again, so no older news takes one out. */
  readonly #revokedKeys = new Set<string>();
  /** Was everything read once? What is found until then was revoked before this replica began. */
  #begun = false;

  constructor(options: IdentitiesOptions, onCurrent: () => void) {
    this.#options = options;
    const { manager, requester } = options;
    this.#identities = new Bucket(IDENTITIES_BUCKET, manager, requester);
    this.#tokens = new Bucket(TOKENS_BUCKET, manager, requester);
    this.#nodes = new Bucket(NODES_BUCKET, manager, requester);
    this.#view = new BucketView<Identity>({
      ...options,
      bucket: IDENTITIES_BUCKET,
      decode: (_key, value) => decode(Identity, value),
      onChange: ({ before, after }) => {
        for (const key of before === undefined ? [] : keysOf(before)) {
          this.#nodesByKey.delete(key);
          // Somebody took it out of the store by hand: nobody knows the key.
          if (after === undefined) this.#revokedKeys.delete(key);
        }
        if (after === undefined) return;
        this.#learn(after);
        const known = before === undefined ? [] : revokedKeysOf(before);
        for (const key of this.#begun ? revokedKeysOf(after) : []) {
          if (!known.includes(key)) options.onRevoked(key);
        }
      },
      onCurrent: () => {
        this.#begun = true;
        onCurrent();
      },
    });
  }

  /** Follows the bucket until `signal` aborts. */
  run(signal: AbortSignal): Promise<void> {
    return this.#view.run(signal);
  }

  get count(): number {
    return this.#view.size;
  }

  /** Nodes that are enrolled and not revoked; `undefined`: not known yet. */
  get enrolled(): number | undefined {
    if (!this.#begun) return undefined;
    return [...this.#view.entries()].filter(([, { revokedAt }]) => revokedAt === null).length;
  }

  /** Is this key one that was revoked, here or as far as this replica has heard? */
  isRevoked(publicKey: string): boolean {
    return this.#revokedKeys.has(publicKey);
  }

  /** Are there revoked keys at all? */
  get someRevoked(): boolean {
    return this.#revokedKeys.size > 0;
  }

  /**
   * The identity that a key belongs or belonged to, as the leader has it. `claimed`: the node that
   * its holder says it is, for a key that this replica has not heard of yet.
   */
  async holderOf(publicKey: string, claimed: string | undefined): Promise<Identity | undefined> {
    const node = this.#nodesByKey.get(publicKey) ?? claimed;
    if (node === undefined) return undefined;
    const { identity } = await this.read(node);
    return identity !== undefined && keysOf(identity).includes(publicKey) ? identity : undefined;
  }

  /** A node's identity as the leader has it. */
  async read(node: string): Promise<Stored> {
    const entry = await this.#identities.read(node);
    if (entry?.value === undefined) return { identity: undefined, revision: entry?.revision ?? 0 };
    const decoded = decode(Identity, entry.value);
    if (!decoded.ok) throw new NotStoredError(`identity of ${node}: ${decoded.problem}`);
    return { identity: decoded.value, revision: entry.revision };
  }

  /** Writes what a decision made of it. Throws {@link NotStoredError} when another was faster. */
  async write(kind: "enrolled" | "revoked", identity: Identity, revision: number): Promise<void> {
    const stored = await this.#identities.write(identity.node, encode(identity), revision);
    if (stored.kind !== "stored") {
      throw new NotStoredError(`identity of ${identity.node} not stored: ${stored.kind}`);
    }
    // Known here before the watch says so: the very next connection may be its.
    this.#learn(identity);
    this.#options.onChange({ kind, identity });
  }

  /** Has a node with this id a record that is not LEFT? */
  async isSeen(node: string): Promise<boolean> {
    const entry = await this.#nodes.read(node);
    if (entry?.value === undefined) return false;
    const record = decode(NodeRecord, entry.value);
    return !record.ok || record.value.state !== "LEFT";
  }

  /** Makes a token, good once and for `ttlMs` by the server's clock. Its hash alone is stored. */
  async issue(record: TokenRecord, ttlMs: number): Promise<string> {
    const { mesh, onChange } = this.#options;
    const token = joinToken(mesh, randomBytes(SECRET_BYTES).toString("base64url"));
    await this.#writeToken(hashOf(token), record, { revision: 0, ttlSeconds: ttlMs / 1_000 });
    onChange({ kind: "token-issued", node: record.node ?? undefined, by: record.addedBy, ttlMs });
    return token;
  }

  /** What a token is, as the leader has it, and the revision to take it at. */
  async token(token: string): Promise<{ readonly state: TokenState; readonly revision: number }> {
    const entry = await this.#tokens.read(hashOf(token));
    if (entry === undefined) return { state: { kind: "never-issued" }, revision: 0 };
    const { revision } = entry;
    // Nobody deletes a token: what is left of one is the marker of its end.
    if (entry.value === undefined) return { state: { kind: "expired" }, revision };
    const record = decode(TokenRecord, entry.value);
    if (!record.ok) throw new NotStoredError(`token: ${record.problem}`);
    return { state: { kind: "issued", record: record.value }, revision };
  }

  /** Takes a token for a key. Throws {@link NotStoredError} when another was faster. */
  async take(token: string, record: TokenRecord, usedBy: string, revision: number): Promise<void> {
    if (record.usedBy === usedBy) return;
    const used = { ...record, usedBy };
    await this.#writeToken(hashOf(token), used, { revision, ttlSeconds: USED_TTL_SECONDS });
  }

  async #writeToken(
    key: string,
    record: TokenRecord,
    { revision, ttlSeconds }: { readonly revision: number; readonly ttlSeconds: number },
  ): Promise<void> {
    // The server counts whole seconds.
    const ttl = `${Math.max(1, Math.round(ttlSeconds))}s`;
    const stored = await this.#options.requester.stored(
      kvSubject(TOKENS_BUCKET.name, key),
      encode(record),
      { headers: expecting(revision, [["Nats-TTL", ttl]]) },
    );
    if (stored.kind !== "stored") throw new NotStoredError(`token not stored: ${stored.kind}`);
  }

  #learn(identity: Identity): void {
    for (const key of keysOf(identity)) this.#nodesByKey.set(key, identity.node);
    for (const key of revokedKeysOf(identity)) this.#revokedKeys.add(key);
  }
}

function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}
