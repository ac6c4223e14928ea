/** What the runner reads of a message, and what it answers to one. */
import { quickHeaders, type ReadHeaders } from "@swarm-mesh/bus";
import { encode } from "@swarm-mesh/protocol";
import type { Msg } from "nats";

/** Answers to a dispatch. */
export const RUNNING = encode({ answer: "running" });
/** The answer to a dispatch of what has ended here: its outcome is on its way, or settled. */
export const FINISHED = encode({ answer: "finished" });

/** Headers that nobody can read are none. */
export function headersOf(message: Msg): ReadHeaders | undefined {
  const headers = quickHeaders(message);
  return headers === "malformed" ? undefined : headers;
}

/** Is it a promise, or as good as one? */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value;
}

/** A closed connection has nobody behind it that waits, and must not end the runner. */
export function respond(question: Msg | undefined, body: string): void {
  try {
    question?.respond(body);
  } catch {
    // The node ends by itself when its connection has closed.
  }
}
