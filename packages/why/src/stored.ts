/** Facts from messages as they are stored, whoever read them. */
import {
  decode,
  Header,
  type HeaderSource,
  NodeEvent,
  parseSubmitHeaders,
  tokenOf,
} from "@swarm-mesh/protocol";
import { timeOf } from "@swarm-mesh/runtime";
import type { EventFact, LetterFact, QueuedFact } from "./facts.ts";

/** A stored message, as the library of NATS gives it. */
export interface StoredMessage {
  readonly seq: number;
  readonly subject: string;
  readonly data: Uint8Array;
  readonly time: { getTime(): number };
  /** Read when it is asked for, and thrown at when nobody can read them. */
  readonly header: HeaderSource | undefined;
}

/** The task that a message of the queue, or of the retries, is of. */
export function taskIdOf(message: StoredMessage): string {
  const h = headersOf(message);
  return h?.get(Header.taskId) || h?.get(Header.msgId) || `s${message.seq}`;
}

/** What waits in `stream`, by its message. */
export function queuedFact(message: StoredMessage, stream: string): QueuedFact {
  const h = headersOf(message);
  const options = parseSubmitHeaders(h);
  const isSubmit = tokenOf(message.subject, 2) === "submit";
  return {
    stream,
    seq: message.seq,
    capability: tokenOf(message.subject, 3),
    lane: (isSubmit ? tokenOf(message.subject, 4) : h?.get(Header.lane)) || "normal",
    storedAtMs: message.time.getTime(),
    requires: "requires" in options ? options.requires : undefined,
  };
}

/** A dead letter; `undefined` of none. */
export function letterFact(message: StoredMessage | undefined): LetterFact | undefined {
  return message && { seq: message.seq, atMs: message.time.getTime() };
}

/** A node's event; `undefined` of none, and of one that cannot be read. */
export function eventFact(message: StoredMessage | undefined): EventFact | undefined {
  const event = message === undefined ? undefined : decode(NodeEvent, message.data);
  if (message === undefined || event?.ok !== true) return undefined;
  const { at, by, reason } = event.value;
  const kind = message.subject.slice(message.subject.lastIndexOf(".") + 1);
  return { kind, reason, by, atMs: timeOf(at) };
}

/** Where nobody can read them, the message is known by its place alone. */
function headersOf(message: StoredMessage): HeaderSource | undefined {
  try {
    return message.header;
  } catch {
    return undefined;
  }
}
