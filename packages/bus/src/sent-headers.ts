/**
 * Headers that someone else sent.
 *
 * The library reads a header block when it is first asked for, and throws at one that it would not
 * have written itself: a space in a name is enough, and the server stores it. In a subscription's
 * callback such a throw ends the connection's read loop: the process is connected, and deaf.
 */
import type { MsgHdrs } from "nats";

/** The headers that `read` gives; `"malformed"` when nobody can read them. */
export function sentHeaders(read: () => MsgHdrs | undefined): MsgHdrs | undefined | "malformed" {
  try {
    return read();
  } catch {
    return "malformed";
  }
}

/** As {@link sentHeaders}, for those who take malformed headers for none. */
export function goodHeaders(read: () => MsgHdrs | undefined): MsgHdrs | undefined {
  const found = sentHeaders(read);
  return found === "malformed" ? undefined : found;
}
