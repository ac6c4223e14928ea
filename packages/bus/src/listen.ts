import { aborted, latch } from "@swarm-mesh/runtime";
import type { Msg, NatsConnection } from "nats";

export interface ListenOptions {
  readonly signal: AbortSignal;
  /** Share the messages with the other members of this group. */
  readonly queue?: string;
}

/**
 * Hands every message on `subject` to `onMessage` until `signal` aborts, then unsubscribes.
 *
 * The callback form costs half of what an iterator does, but a callback that throws would kill the
 * client's read loop and leave the process connected and deaf. Here a throw ends the loop and
 * rejects: a bug is seen.
 */
export async function listen(
  nc: NatsConnection,
  subject: string,
  onMessage: (message: Msg) => void,
  options: ListenOptions,
): Promise<void> {
  const broken = latch<never>();
  const subscription = nc.subscribe(subject, {
    ...(options.queue === undefined ? {} : { queue: options.queue }),
    callback: (error, message) => {
      try {
        if (error !== null) throw error;
        onMessage(message);
      } catch (failure) {
        broken.reject(failure);
      }
    },
  });
  try {
    await Promise.race([broken.promise, aborted(options.signal), nc.closed()]);
  } finally {
    subscription.unsubscribe();
  }
}
