/** What a stream holds, message by message, from either end, in constant memory. */
import type { JetStreamManager, StoredMsg } from "@nats-io/jetstream";
import { isNothingStored } from "@swarm-mesh/protocol";

/** Messages read in one request; the server ends it earlier at so many bytes. */
const BATCH = 500;
const BATCH_BYTES = 8 * 1024 * 1024;
/** Places of a stream that are read in one go, however few of them still hold a message. */
const WINDOW_MAX = 1_000_000;

/** Where in a stream to read. */
export interface Range {
  readonly stream: string;
  readonly subject: string;
  /** The first and the last place; default: what the stream holds when the reading begins. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
}

/** The messages on a subject, oldest first. */
export async function* oldestFirst(
  manager: JetStreamManager,
  { stream, subject, from = 1, to = Number.POSITIVE_INFINITY }: Range,
): AsyncGenerator<StoredMsg> {
  for (let next = from; next <= to; ) {
    let last: number | undefined;
    try {
      const batch = await manager.direct.getBatch(stream, {
        seq: next,
        batch: BATCH,
        max_bytes: BATCH_BYTES,
        next_by_subj: subject,
      });
      for await (const message of batch) {
        if (message.seq > to) return;
        last = message.seq;
        yield message;
      }
    } catch (error) {
      // An empty range is answered with an error: then there is no more.
      if (!isNothingStored(error)) throw error;
    }
    if (last === undefined) return;
    next = last + 1;
  }
}

/** The messages on a subject, newest first. `onWindow` is told the lowest place that was read. */
export async function* newestFirst(
  manager: JetStreamManager,
  { stream, subject, from, to }: Range,
  onWindow: (place: number) => void = () => undefined,
): AsyncGenerator<StoredMsg> {
  const { state } = await manager.streams.info(stream);
  const first = Math.max(from ?? 1, state.first_seq, 1);
  const span = Math.max(1, state.last_seq - state.first_seq + 1);
  // A stream from which much was deleted has few messages in many places.
  const window = Math.min(WINDOW_MAX, Math.ceil((BATCH * span) / Math.max(1, state.messages)));
  for (let last = Math.min(to ?? state.last_seq, state.last_seq); last >= first; last -= window) {
    const start = Math.max(first, last - window + 1);
    const messages: StoredMsg[] = [];
    for await (const message of oldestFirst(manager, { stream, subject, from: start, to: last })) {
      messages.push(message);
    }
    yield* messages.reverse();
    onWindow(start);
  }
}

/** A stored message; `undefined`: there is none. */
export async function getMessage(
  manager: JetStreamManager,
  stream: string,
  query: { readonly seq: number } | { readonly last_by_subj: string },
): Promise<StoredMsg | undefined> {
  try {
    return (await manager.streams.getMessage(stream, query)) ?? undefined;
  } catch (error) {
    if (isNothingStored(error)) return undefined;
    throw error;
  }
}
