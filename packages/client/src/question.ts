import type { Answer, Requester } from "@swarm-mesh/bus";
import { decode, encode, Refusal } from "@swarm-mesh/protocol";
import type { z } from "zod";

/**
 * Requests `subject` and reads the answer as `schema` or else as a refusal. In this order, because
 * the record of a failed task has an `error` just as a refusal has.
 */
export async function question<S extends z.ZodType>(
  requester: Requester,
  request: { readonly subject: string; readonly body: unknown; readonly timeoutMs: number },
  schema: S,
): Promise<Answer<z.infer<S>>> {
  const { subject, body, timeoutMs } = request;
  const reply = await requester.request(subject, encode(body), { timeoutMs });
  if (reply.kind !== "message") return reply;
  const answer = decode(schema, reply.message.data);
  if (answer.ok) return { kind: "ok", value: answer.value };
  const refusal = decode(Refusal, reply.message.data);
  return refusal.ok
    ? { kind: "refused", error: refusal.value.error }
    : { kind: "malformed", problem: answer.problem };
}

/** Why there is no value, for people. */
export function reasonOf(answer: Answer<unknown>): string {
  switch (answer.kind) {
    case "no-responders":
      return "nobody answers: are the services running, and may this user ask them?";
    case "timeout":
      return "no answer in time";
    case "refused":
      return `${answer.error.message} (${answer.error.code})`;
    case "malformed":
      return answer.problem;
    case "ok":
      return "answered";
  }
}
