/**
 * The audit trail: who did what, one entry after the other, each holding the hash of the one before.
 *
 *     { seq: 1, prev: 0000…, hash: a1… } ◀── { seq: 2, prev: a1…, hash: 7f… } ◀── { seq: 3, prev: 7f…, … }
 *
 * An entry is stored as canonical JSON (RFC 8785); its `hash` is the SHA-256 of that JSON without the
 * field `hash`. `seq` is the entry's place in `MESH_AUDIT`.
 */
import { z } from "zod";

/** What the first entry has for `prev`. */
export const AUDIT_GENESIS = "0".repeat(64);

const Hash = z.string().regex(/^[0-9a-f]{64}$/, { error: "expected a SHA-256, 64 of 0-9 a-f" });

/** Who did something, as far as it is known. */
export const AuditWho = z.looseObject({
  /** The public nkey that the server, or whoever used it, says was used. */
  user: z.string().optional(),
  /** The account the request came from, by the server's word. */
  account: z.string().optional(),
  /** For people, and as they say it themselves: `ada@box (admin)`. */
  name: z.string().optional(),
});
export type AuditWho = z.infer<typeof AuditWho>;

/** What is said of a deed; the rest of an entry comes of where it stands. */
export const AuditDeed = z.object({
  /** `task.submitted`, `node.drain`: the thing, a dot, and what was done. */
  action: z.string().regex(/^[a-z]{1,32}\.[a-z_]{1,32}$/),
  who: AuditWho,
  /** What it was done to: a task, a node, a capability; `""`: the details say it. */
  target: z.string().max(1_024),
  /** Why, in the words of who did it. */
  reason: z.string().max(1_024),
  /** Whatever else there is to say, of every action its own. */
  details: z.record(z.string(), z.unknown()),
});
export type AuditDeed = z.infer<typeof AuditDeed>;

/** One entry. */
export const AuditEntry = z.looseObject({
  ...AuditDeed.shape,
  v: z.literal(1),
  /** Its place in the stream, from 1. */
  seq: z.int().positive(),
  /** Of this entry alone. */
  id: z.string().max(64),
  /** When it was written, ISO 8601 UTC, by the clock of who wrote it. */
  at: z.iso.datetime(),
  /** The process that wrote it. */
  by: z.string().max(256),
  /** The hash of the entry before it. */
  prev: Hash,
  hash: Hash,
});
export type AuditEntry = z.infer<typeof AuditEntry>;

/** Submits of one kind that an entry `task.submitted` tells of. */
export const SubmittedTasks = z.object({
  capability: z.string(),
  /** `Mesh-Signer` as it came; whether the signature is good is for the node to say. */
  signer: z.string().nullable(),
  count: z.int().positive(),
  /** The first of their ids. */
  ids: z.array(z.string()),
  /** Where they are in `MESH_TASKS`, from and to; when there are too many gaps, from the first to the last. */
  sequences: z.array(z.tuple([z.int(), z.int()])),
});
export type SubmittedTasks = z.infer<typeof SubmittedTasks>;

/**
 * Until where the submits are in the trail: every task whose record is of this revision of
 * `mesh_tasks` or an older one is in this entry or in one before it.
 */
export const AuditMark = z.looseObject({ through: z.int().nonnegative() });
