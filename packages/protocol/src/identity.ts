/**
 * Nodes that are let in while everything runs: who they are, how they join, how they are shut out.
 *
 *     nobody ──token, or an operator──▶ enrolled ──▶ revoked ──with another key──▶ enrolled
 *
 * A node that is in the server's own configuration has no identity here: it needs none.
 */
import { z } from "zod";
import { NodeId } from "./names.ts";

/** The public key of a user: its nkey, `U` and 55 more. */
export const PublicKey = z.string().regex(/^U[A-Z2-7]{55}$/, {
  error: "a user's public key must be U and 55 characters of A-Z 2-7",
});

/** Who did it, for people: `ada@laptop`. */
const Who = z.string().min(1).max(128);
const Time = z.iso.datetime();

/**
 * How many former keys a node may have. None is ever forgotten, since it would be a stranger's then,
 * whom a token lets in: a node that has had so many is given no further one.
 */
export const FORMER_KEYS_MAX = 128;

/** A node that was enrolled, the value of `<node>` in `mesh_identities`. Times are for people. */
export const Identity = z.looseObject({
  node: NodeId,
  publicKey: PublicKey,
  /** By a join token, or by an operator who named the key. */
  how: z.enum(["token", "key"]),
  addedBy: Who,
  addedAt: Time,
  /** `null`: the key is good. */
  revokedAt: Time.nullable().default(null),
  revokedBy: Who.nullable().default(null),
  reason: z.string().max(1_024).nullable().default(null),
  /** Keys that this node had before, all of them revoked. */
  formerKeys: z.array(PublicKey).max(FORMER_KEYS_MAX).default([]),
});
export type Identity = z.infer<typeof Identity>;

/** What is stored of a token, under its hash in `mesh_tokens`. The server's TTL ends it. */
export const TokenRecord = z.looseObject({
  /** The only id it is good for; `null`: any that is free. */
  node: NodeId.nullable(),
  addedBy: Who,
  addedAt: Time,
  /** The key it let in: a token is good for one. */
  usedBy: PublicKey.nullable().default(null),
});
export type TokenRecord = z.infer<typeof TokenRecord>;

/** The longest a token may be good for: a day, as every duration that people write. */
export const TOKEN_TTL_MAX_MS = 24 * 60 * 60 * 1_000;

/**
 * Who connects under this name asks for the lobby: an account in which it can do nothing but request
 * `mesh.identity.join.<key>`, and so hears in words why it is not let in.
 */
export const LOBBY_NAME = "lobby";

/** Request `mesh.identity.join.<key>`: let me in; without a token: why am I not? */
export const JoinRequest = z.object({
  node: NodeId.optional(),
  token: z.string().max(256).optional(),
});
export type JoinRequest = z.infer<typeof JoinRequest>;

/** The key is good: connect with it, as this node. */
export const JoinAnswer = z.object({ node: NodeId });
export type JoinAnswer = z.infer<typeof JoinAnswer>;

/** Request `mesh.identity.add.<node>`; answered with the {@link Identity}. */
export const AddRequest = z.object({ publicKey: PublicKey, by: Who });
export type AddRequest = z.infer<typeof AddRequest>;

/** Request `mesh.identity.revoke.<node>`. */
export const RevokeRequest = z.object({ by: Who, reason: z.string().max(1_024).optional() });
export type RevokeRequest = z.infer<typeof RevokeRequest>;

/** The key is refused from now on, and these connections of it were cut. */
export const RevokeAnswer = z.object({ identity: Identity, cut: z.int().nonnegative() });
export type RevokeAnswer = z.infer<typeof RevokeAnswer>;

/** Request `mesh.identity.token`. The lifetime is counted in whole seconds, by the server's clock. */
export const TokenRequest = z.object({
  ttlMs: z.int().min(1_000).max(TOKEN_TTL_MAX_MS),
  node: NodeId.optional(),
  by: Who,
});
export type TokenRequest = z.infer<typeof TokenRequest>;

/** A token that is good once. It is told here and nowhere else: the mesh keeps its hash alone. */
export const TokenAnswer = z.object({ token: z.string() });
export type TokenAnswer = z.infer<typeof TokenAnswer>;

/** `mesh_<mesh>_<secret>`: 8 characters that name the mesh, 43 that nobody guesses. */
const TOKEN = /^mesh_([A-Z2-7]{8})_[A-Za-z0-9_-]{43}$/;

/** Puts a token together. `secret`: 32 random bytes in base64url. */
export function joinToken(mesh: string, secret: string): string {
  return `mesh_${mesh}_${secret}`;
}

/** Of which mesh a token says it is; `undefined`: it is no token. */
export function meshOfToken(token: string): string | undefined {
  return TOKEN.exec(token)?.[1];
}

/** How a mesh is named in its tokens: by the key that signs for its accounts. */
export function meshNameOf(issuerPublicKey: string): string {
  return issuerPublicKey.slice(1, 9);
}
