import { decode, encode, Refusal, type WireError } from "@swarm-mesh/protocol";
import type { z } from "zod";
import type { Requester, SendOptions } from "./requester.ts";

/** The answer to a typed request. */
export type Answer<T> =
  | { readonly kind: "ok"; readonly value: T }
  | { readonly kind: "refused"; readonly error: WireError }
  | { readonly kind: "no-responders" }
  | { readonly kind: "timeout" }
  /** The answer does not match what this version expects. */
  | { readonly kind: "malformed"; readonly problem: string };

/**
 * Requests `subject` with `body` as JSON and reads the answer as `schema` or else as a refusal. In this
 * order, because the record of a failed task has an `error` just as a refusal has.
 */
export async function ask<S extends z.ZodType>(
  requester: Requester,
  subject: string,
  body: unknown,
  schema: S,
  options: SendOptions = {},
): Promise<Answer<z.infer<S>>> {
  const reply = await requester.request(subject, encode(body ?? {}), options);
  if (reply.kind !== "message") return reply;
  const answer = decode(schema, reply.message.data);
  if (answer.ok) return { kind: "ok", value: answer.value };
  const refusal = decode(Refusal, reply.message.data);
  return refusal.ok
    ? { kind: "refused", error: refusal.value.error }
    : { kind: "malformed", problem: answer.problem };
}
