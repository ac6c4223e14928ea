/** What the reply subject of a delivered message says of it. */
export interface DeliveryInfo {
  readonly deliveries: number;
  readonly seq: number;
  readonly storedAtMs: number;
  /** Messages of the consumer that wait behind this one. */
  readonly pending: number;
}

/**
 * Reads `$JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.<consumer seq>.<stored ns>.<pending>`, or
 * the longer form with `<domain>.<account>` before the stream and a token at the end.
 * https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md
 *
 * The library's own reader makes an object with twice the fields; this runs for every task.
 */
export function readAckSubject(reply: string): DeliveryInfo {
  const tokens = reply.split(".");
  const first = tokens.length === 9 ? 4 : 6;
  return {
    deliveries: Number(tokens[first]),
    seq: Number(tokens[first + 1]),
    // Nanoseconds pass what a number holds exactly: the last six digits are cut as text.
    storedAtMs: Number((tokens[first + 3] ?? "").slice(0, -6)),
    pending: Number(tokens[first + 4]),
  };
}
