/** Errors that cross the wire: a code, a sentence, and whether trying again can help. */
import { z } from "zod";

/**
 * Codes the mesh itself gives. A handler may use codes of its own (`[a-z0-9_]{1,64}`).
 *
 * | code | when | retryable |
 * |---|---|---|
 * | `bad_request` | a request or header that does not parse; the message says which field | no |
 * | `bad_header` | a submit header with a bad value | no |
 * | `bad_capability` | a submit subject that is no capability and lane | no |
 * | `payload_too_large` | a task body over 1 MB, a result over 1 MB, a checkpoint over 512 KB | no |
 * | `not_found` | no such task or node | no |
 * | `id_in_use` | a living node has this id | no |
 * | `stale` | an attempt, epoch or incarnation that is over | no |
 * | `not_leader` | this coordinator does not lead, or not yet | yes |
 * | `unavailable` | the store did not answer in time; nothing is known | yes |
 * | `invalid_input` | the payload does not match the handler's input schema | no |
 * | `invalid_output` | the handler's result does not match its output schema | no |
 * | `handler_failed` | the handler threw, or the program ended with 75 | yes |
 * | `handler_final` | the handler threw a final error, or the program ended with another status | no |
 * | `timeout` | a try took longer than `Mesh-Timeout` | yes |
 * | `cancelled` | someone cancelled the task | no |
 * | `handed_back` | a draining node gave the task back; placed again, no try used up | yes |
 * | `lease_lost` | the node lost its lease and stopped the task | yes |
 * | `busy` | the node has no free slot for the capability | yes |
 * | `unknown_capability` | the node does not offer the capability | yes |
 * | `token_unknown` | a join token that this mesh never issued, or is no token | no |
 * | `token_expired` | a join token whose lifetime is over | no |
 * | `token_used` | a join token that let another key in | no |
 * | `unknown_key` | a key that was never enrolled, and no token with it | no |
 * | `revoked` | a key that was revoked | no |
 * | `too_many_losses` | the task lost more nodes than the limit allows | no |
 * | `signature_missing` | the node runs this capability for trusted signers alone, and the task has no signature | no |
 * | `signature_invalid` | the signature is not of this task, or valid for too long, or for other labels | no |
 * | `signature_expired` | the signature's time was over when a node was to run the task | no |
 * | `unknown_signer` | the node does not trust the signer: not at all, not now, or not for this capability | no |
 * | `replayed` | the node has run this signed task, under this try or to its end | no |
 */
export const ErrorCode = z.enum([
  "bad_request",
  "bad_header",
  "bad_capability",
  "payload_too_large",
  "not_found",
  "id_in_use",
  "stale",
  "not_leader",
  "unavailable",
  "invalid_input",
  "invalid_output",
  "handler_failed",
  "handler_final",
  "timeout",
  "cancelled",
  "handed_back",
  "lease_lost",
  "busy",
  "unknown_capability",
  "token_unknown",
  "token_expired",
  "token_used",
  "unknown_key",
  "revoked",
  "too_many_losses",
  "signature_missing",
  "signature_invalid",
  "signature_expired",
  "unknown_signer",
  "replayed",
]);
export type ErrorCode = z.infer<typeof ErrorCode>;

/** The longest error message that is kept; the rest is cut. */
export const ERROR_MESSAGE_MAX_CHARS = 4_096;

/** An error as it is stored in a record and sent over the wire. */
export const WireError = z.object({
  code: z.string().regex(/^[a-z0-9_]{1,64}$/, { error: "a code is 1 to 64 of a-z 0-9 _" }),
  message: z.string().max(ERROR_MESSAGE_MAX_CHARS),
  retryable: z.boolean(),
});
export type WireError = z.infer<typeof WireError>;

/**
 * The answer to a request that was refused: `{ error: { code, message, retryable } }` and nothing
 * else. Strict, because a task's record has an `error` too.
 */
export const Refusal = z.strictObject({ error: WireError });
export type Refusal = z.infer<typeof Refusal>;

/** Builds a {@link WireError}, its message cut to what may be kept. */
export function wireError(code: ErrorCode, message: string, retryable = false): WireError {
  return { code, message: message.slice(0, ERROR_MESSAGE_MAX_CHARS), retryable };
}

/** JetStream's code for `no message found`, and the status of a direct read that finds none. */
const NOTHING_STORED: readonly unknown[] = [10037, 404];

/** Does an error of the NATS library say that no such message is stored? By its code, in Node and in browsers. */
export function isNothingStored(error: unknown): boolean {
  return error instanceof Error && "code" in error && NOTHING_STORED.includes(error.code);
}
