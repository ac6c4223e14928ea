/**
 * Who is let in, and who no longer is: the decisions alone.
 *
 *     a key connects ─▶ judgeKey ─▶ that node, or refused with a reason
 *     a key joins    ─▶ judgeJoin ─▶ in already, or to be enrolled, or refused with a reason
 *
 * No clock decides anything here: whether a token's time is over is the store's word, and the times in
 * an identity are for people.
 */
import {
  type ErrorCode,
  FORMER_KEYS_MAX,
  type Identity,
  type JoinRequest,
  meshOfToken,
  NODES_MAX,
  ROLE_NAMES,
  type TokenRecord,
} from "@swarm-mesh/protocol";

/** Why somebody is not let in, in words for the person who reads it. */
export interface Refused {
  readonly kind: "refused";
  readonly code: ErrorCode;
  readonly message: string;
}

/** The key is this node's. */
export interface Admitted {
  readonly kind: "admitted";
  readonly node: string;
}

/** What became of a token, as the store has it. */
export type TokenState =
  | { readonly kind: "never-issued" }
  | { readonly kind: "expired" }
  | { readonly kind: "issued"; readonly record: TokenRecord };

/** The node whose key it is, or was, as the store has it; `undefined`: of no node. */
export type Holder = Identity | undefined;

/** May who holds this key connect as a node? */
export function judgeKey(holder: Holder, publicKey: string): Admitted | Refused {
  if (holder === undefined) {
    return refused(
      "unknown_key",
      "this key was never enrolled: join with a token, or have it added",
    );
  }
  const { node, revokedAt, revokedBy, reason } = holder;
  if (holder.publicKey !== publicKey) {
    return refused("revoked", `this key of ${node} was revoked; the node has another one now`);
  }
  if (revokedAt === null) return { kind: "admitted", node };
  const why = reason === null ? "" : `: ${reason}`;
  return refused("revoked", `${node} was revoked by ${revokedBy ?? "?"} at ${revokedAt}${why}`);
}

/** What is known of somebody who asks to join. */
export interface Joining {
  readonly publicKey: string;
  readonly request: JoinRequest;
  readonly holder: Holder;
  /** How this mesh is named in its tokens. */
  readonly mesh: string;
}

/** Is there anything to look up, or is it decided by what was said? `undefined`: the token counts. */
export function judgeWithoutToken(joining: Joining): Admitted | Refused | undefined {
  const { holder, publicKey, request, mesh } = joining;
  const known = judgeKey(holder, publicKey);
  if (known.kind === "admitted") {
    if (request.node === undefined || request.node === known.node) return known;
    return refused(
      "id_in_use",
      `this key is ${known.node}'s; ${request.node} needs one of its own`,
    );
  }
  // A token lets new keys in; it is not a pardon.
  if (known.code === "revoked" || request.token === undefined) return known;
  const named = meshOfToken(request.token);
  if (named === undefined) return refused("token_unknown", "this is no join token: mesh_…_…");
  if (named !== mesh) {
    return refused("token_unknown", `the token is of another mesh (${named}; this one is ${mesh})`);
  }
  return undefined;
}

/** A token that may be taken, for the node with this id. */
export interface GoodToken {
  readonly kind: "good";
  readonly node: string;
  readonly record: TokenRecord;
}

/** May this key take the token, and for which node? */
export function judgeToken(token: TokenState, joining: Joining): GoodToken | Refused {
  const { publicKey, request } = joining;
  switch (token.kind) {
    case "never-issued":
      return refused("token_unknown", "this mesh never issued the token, or has forgotten it");
    case "expired":
      return refused("token_expired", "the token has expired; have another made");
    case "issued":
      break;
  }
  const { usedBy, node } = token.record;
  // The same key again: it was interrupted after its token was taken.
  if (usedBy !== null && usedBy !== publicKey) {
    return refused("token_used", "the token was used already; each lets one node in");
  }
  if (node !== null && request.node !== undefined && node !== request.node) {
    return refused("bad_request", `the token is for ${node}, not for ${request.node}`);
  }
  const id = node ?? request.node;
  return id === undefined
    ? refused("bad_request", "which node? The token is for no one in particular")
    : { kind: "good", node: id, record: token.record };
}

/** What is known of an id that somebody wants. */
export interface Claim {
  readonly node: string;
  readonly publicKey: string;
  /** The id's identity as the store has it. */
  readonly owner: Identity | undefined;
  /** The node whose key it is, or was. */
  readonly holder: Holder;
  /** Does a node with this id have a record, in whatever state but LEFT? */
  readonly seen: boolean;
  /** Identities there are. */
  readonly count: number;
}

/** May this key have this id? `enrol`: write it; `admitted`: it has it already. */
export function judgeClaim(claim: Claim): Admitted | { readonly kind: "enrol" } | Refused {
  const { node, publicKey, owner, holder, seen, count } = claim;
  if (ROLE_NAMES.some((role) => role === node)) {
    return refused(
      "bad_request",
      `${node} is the name of a user of the mesh; a node cannot have it`,
    );
  }
  if (holder !== undefined) {
    const known = judgeKey(holder, publicKey);
    if (known.kind === "refused" || known.node === node) return known;
    return refused("id_in_use", `this key is ${known.node}'s; ${node} needs one of its own`);
  }
  if (owner !== undefined && owner.revokedAt === null) {
    return refused(
      "id_in_use",
      `${node} is enrolled with another key: choose another id, or revoke ${node} first`,
    );
  }
  if (owner !== undefined && owner.formerKeys.length >= FORMER_KEYS_MAX) {
    return refused(
      "id_in_use",
      `${node} has had ${FORMER_KEYS_MAX + 1} keys, and all stay refused: choose another id`,
    );
  }
  if (owner === undefined && seen) {
    return refused(
      "id_in_use",
      `${node} is a node of the server's configuration: choose another id`,
    );
  }
  if (owner === undefined && count >= NODES_MAX) {
    return refused("unavailable", `${NODES_MAX} nodes are enrolled, and no more can be`);
  }
  return { kind: "enrol" };
}

/** Who did something, and when: for people. */
export interface Deed {
  readonly by: string;
  readonly at: string;
}

/** The identity of a node that is let in; `before`: what it was, revoked. */
export function enrolled(
  before: Identity | undefined,
  node: { readonly id: string; readonly publicKey: string; readonly how: Identity["how"] },
  { by, at }: Deed,
): Identity {
  const former = before === undefined ? [] : [before.publicKey, ...before.formerKeys];
  return {
    ...before,
    node: node.id,
    publicKey: node.publicKey,
    how: node.how,
    addedBy: by,
    addedAt: at,
    revokedAt: null,
    revokedBy: null,
    reason: null,
    formerKeys: former,
  };
}

/** The identity of a node that is shut out. Its first revocation stands. */
export function revoked(before: Identity, { by, at }: Deed, reason: string | undefined): Identity {
  if (before.revokedAt !== null) return before;
  return { ...before, revokedAt: at, revokedBy: by, reason: reason ?? null };
}

/** Every key of a node, the good one first. */
export function keysOf({ publicKey, formerKeys }: Identity): readonly string[] {
  return [publicKey, ...formerKeys];
}

/** Those of a node's keys that are no longer good. */
export function revokedKeysOf({ publicKey, formerKeys, revokedAt }: Identity): readonly string[] {
  return revokedAt === null ? formerKeys : [publicKey, ...formerKeys];
}

function refused(code: ErrorCode, message: string): Refused {
  return { kind: "refused", code, message };
}
