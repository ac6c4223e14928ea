/** Follows a stream by an ordered consumer of one's own, for as long as one connection lasts. */
import {
  type ConsumerMessages,
  DeliverPolicy,
  type JetStreamClient,
  type JsMsg,
  type OrderedConsumerOptions,
} from "@nats-io/jetstream";
import { systemClock } from "@swarm-mesh/runtime";

export interface Follow {
  readonly stream: string;
  /** Where to begin: the last message of each subject, or a sequence. */
  readonly from: "last_of_each" | number;
  /** Leave the bodies at the server. */
  readonly headersOnly?: boolean;
  /** A new beginning: what was known before may be gone. */
  readonly onStart?: () => void;
  readonly onMessage: (message: JsMsg) => void;
  /** Everything that was stored when the watch began has been handed out. */
  readonly onCurrent?: () => void;
}

const AGAIN_MS = 500;

/** Follows until `signal` aborts; begins anew when the watch fails. */
export async function follow(
  js: JetStreamClient,
  options: Follow,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await followOnce(js, options, signal);
    } catch {
      // The store may be away for a while; the page says how old what it shows is.
    }
    await systemClock.sleep(AGAIN_MS, signal);
  }
}

async function followOnce(
  js: JetStreamClient,
  options: Follow,
  signal: AbortSignal,
): Promise<void> {
  const consumer = await js.consumers.get(options.stream, consumerOf(options));
  const { num_pending: pending } = await consumer.info(true);
  const messages = await consumer.consume({ max_messages: 500, idle_heartbeat: 2_000 });
  const stop = (): void => messages.stop();
  void stopWhenSilent(messages);
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  options.onStart?.();
  let current = pending === 0;
  if (current) options.onCurrent?.();
  try {
    for await (const message of messages) {
      options.onMessage(message);
      if (!current && message.info.pending === 0) {
        current = true;
        options.onCurrent?.();
      }
    }
  } finally {
    signal.removeEventListener("abort", stop);
    messages.stop();
  }
}

/** A consumer that went with its server in a cluster would be asked for until that server is back. */
async function stopWhenSilent(messages: ConsumerMessages): Promise<void> {
  for await (const { type } of messages.status()) {
    if (type === "heartbeats_missed") messages.stop();
  }
}

function consumerOf({ from, headersOnly }: Follow): Partial<OrderedConsumerOptions> {
  const place =
    from === "last_of_each"
      ? { deliver_policy: DeliverPolicy.LastPerSubject }
      : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: Math.max(1, from) };
  return { ...place, ...(headersOnly === true ? { headers_only: true } : {}) };
}
