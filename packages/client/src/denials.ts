/**
 * Learns at once that the server forbids a publish, where a time-out would take seconds to say less.
 *
 * The server reports a forbidden publish on the connection, not to the request, and names only the
 * subject. Everyone who waits on that subject is told: what is forbidden to one is to all.
 */
import { type NatsConnection, PermissionViolationError } from "nats";

type OnDenied = (message: string) => void;

export class Denials {
  readonly #waiting = new Map<string, Set<OnDenied>>();

  constructor(nc: NatsConnection) {
    void this.#listen(nc);
  }

  /** Calls `onDenied` when the server forbids a publish on `subject`; call the result to stop. */
  watch(subject: string, onDenied: OnDenied): () => void {
    const waiting = this.#waiting.get(subject) ?? new Set();
    waiting.add(onDenied);
    this.#waiting.set(subject, waiting);
    return () => {
      waiting.delete(onDenied);
      if (waiting.size === 0 && this.#waiting.get(subject) === waiting) {
        this.#waiting.delete(subject);
      }
    };
  }

  async #listen(nc: NatsConnection): Promise<void> {
    for await (const status of nc.status()) {
      if (status.type !== "error") continue;
      const { error } = status;
      if (!(error instanceof PermissionViolationError) || error.operation !== "publish") continue;
      for (const onDenied of this.#waiting.get(error.subject) ?? []) onDenied(error.message);
    }
  }
}
