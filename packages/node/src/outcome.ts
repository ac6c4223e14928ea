/** How what a handler returned, or threw, becomes the outcome of a try. Pure. */
import { ERROR_MESSAGE_MAX_CHARS, encode, RESULT_MAX_BYTES, wireError } from "@swarm-mesh/protocol";
import { type AbortCode, JsonText, wireErrorOf } from "./handler.ts";
import type { Ended } from "./outbox.ts";

/** What a handler did. */
export type Settled =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly failure: unknown };

/** Room that subject, attempt, epoch and agent need beside a result. */
const ENVELOPE_BYTES = 4 * 1024;

/**
 * The outcome of a try whose handler has ended, or `undefined` when nobody wants it: the control
 * plane ended the task itself, or has placed it elsewhere.
 *
 * | aborted for | handler returned | handler threw |
 * |---|---|---|
 * | – | its result | its error |
 * | `timeout` | `timeout` | `timeout` |
 * | `draining` | its result | `handed_back` |
 * | `cancelled`, `lease_lost`, `superseded` | nothing | nothing |
 */
export function decideOutcome(
  settled: Settled,
  aborted: AbortCode | undefined,
  messageMaxBytes: number,
): Ended["end"] | undefined {
  switch (aborted) {
    case undefined:
      break;
    case "timeout":
      return timedOut();
    case "draining":
      if (!settled.ok) return handedBack();
      break;
    case "cancelled":
    case "lease_lost":
    case "superseded":
      return undefined;
  }
  return settled.ok
    ? resultOf(settled.value, Math.min(RESULT_MAX_BYTES, messageMaxBytes - ENVELOPE_BYTES))
    : { ok: false, error: wireErrorOf(settled.failure) };
}

/** The end of a try that took too long; tried again. */
export function timedOut(): Ended["end"] {
  return { ok: false, error: wireError("timeout", "the try took longer than Mesh-Timeout", true) };
}

/** The end of a try that a draining node gave back; it uses none up. */
export function handedBack(): Ended["end"] {
  return {
    ok: false,
    error: wireError("handed_back", "the node is draining and gave the task back", true),
  };
}

function resultOf(value: unknown, maxBytes: number): Ended["end"] {
  let json: string | undefined;
  try {
    json = value instanceof JsonText ? value.text : encode(value === undefined ? null : value);
  } catch (error) {
    return notJson(error instanceof Error ? error.message : String(error));
  }
  // JSON.stringify answers undefined for what has no JSON at all, whatever its type says.
  if (typeof json !== "string") return notJson(`a ${typeof value} has no JSON`);
  const bytes = json.length * 3 <= maxBytes ? 0 : Buffer.byteLength(json);
  if (bytes <= maxBytes) return { ok: true, json };
  const message = `the result has ${bytes} bytes, ${maxBytes} are allowed`;
  return { ok: false, error: wireError("payload_too_large", message) };
}

function notJson(why: string): Ended["end"] {
  const message = `the result cannot be written as JSON: ${why}`.slice(0, ERROR_MESSAGE_MAX_CHARS);
  return { ok: false, error: wireError("handler_final", message) };
}
