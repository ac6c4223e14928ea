/**
 * Learns at once that the server forbids a publish, where a time-out would take seconds to say less.
 *
 * The server reports a forbidden publish on the connection, not to the request, and names only the
 * subject. Everyone who waits on that subject is told: what is forbidden to one is to all.
 */
import { type NatsConnection, PermissionViolationError } from "nats";

/** Calls `onDenied` when the server forbids a publish on `subject`, until the connection closes. */
export async function watchDenials(
  nc: NatsConnection,
  onDenied: (subject: string, message: string) => void,
): Promise<void> {
  for await (const status of nc.status()) {
    if (status.type !== "error") continue;
    const { error } = status;
    if (!(error instanceof PermissionViolationError) || error.operation !== "publish") continue;
    onDenied(error.subject, error.message);
  }
}
