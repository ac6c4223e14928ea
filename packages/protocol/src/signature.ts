/**
 * Signed tasks: what a submitter signs, and where the signature travels.
 *
 * The signature covers what a node acts upon: which task, what kind of work, the payload, the limit
 * of a try, the labels the node must have, and until when. When and where it is tried, and how often,
 * is for the coordinator to decide, and is not covered.
 */
import { z } from "zod";

/**
 * How far ahead of now a signature may expire: as long as a final record is kept at least. So an id
 * can be used again only when every signature for its first use has expired.
 */
export const SIGNATURE_LIFETIME_MAX_MS = 24 * 3_600_000;
/** How far a node's clock may be behind a signer's. */
export const SIGNATURE_CLOCK_SKEW_MS = 5 * 60_000;

/** An nkey of a user, public: 56 characters of base32. */
const PUBLIC_KEY = /^U[A-Z2-7]{55}$/;
/** 64 bytes in base64url, without padding. The last character has four bits to spare, which are zero. */
const SIGNATURE = /^[A-Za-z0-9_-]{85}[AQgw]$/;

/** Who signed a task, until when that is valid, and the signature itself. */
export const TaskSignature = z.object({
  /** The signer's public nkey, `U…`. */
  signer: z.string().regex(PUBLIC_KEY, { error: "expected the public nkey of a user, U…" }),
  /** ISO 8601, UTC, as it was signed. */
  expires: z.iso.datetime({ error: "expected a time such as 2026-11-21T12:00:00Z" }),
  /** Ed25519 over {@link signedText}, base64url without padding. */
  signature: z
    .string()
    .regex(SIGNATURE, { error: "expected 64 bytes in base64url, without padding" }),
});
export type TaskSignature = z.infer<typeof TaskSignature>;

/** What is signed. */
export interface SignedTask {
  /** The task's id, chosen by whoever signs. */
  readonly id: string;
  readonly capability: string;
  /** SHA-256 of the payload, 64 lower-case hexadecimal digits. */
  readonly payloadSha256: string;
  /** Limit of one try, in milliseconds; the default when `Mesh-Timeout` is not given. */
  readonly timeoutMs: number;
  /** `Mesh-Requires` exactly as it is sent, `""` when it is not. */
  readonly requires: string;
  /** `Mesh-Expires` exactly as it is sent. */
  readonly expires: string;
  /** `Mesh-Signer`. */
  readonly signer: string;
}

/**
 * The text that is signed: nine lines, each ended by a line feed. No value can hold a line break, so
 * no two tasks have the same text.
 */
export function signedText(task: SignedTask): string {
  const { id, capability, payloadSha256, timeoutMs, requires, expires, signer } = task;
  return [
    "swarm-mesh task",
    "version 1",
    `id ${id}`,
    `capability ${capability}`,
    `payload-sha256 ${payloadSha256}`,
    `timeout-ms ${timeoutMs}`,
    `requires ${requires}`,
    `expires ${expires}`,
    `signer ${signer}`,
    "",
  ].join("\n");
}
