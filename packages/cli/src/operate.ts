/**
 * What people do to the mesh: every command that changes how it works, or what it keeps, does so in
 * {@link operate}, so that there is one place that knows who did what to what, and why.
 */
import { hostname, userInfo } from "node:os";
import { isoTime, systemClock } from "@swarm-mesh/runtime";
import type { Session } from "./session.ts";

/** Something an operator does. */
export interface Deed {
  readonly action:
    | "capability.pause"
    | "capability.resume"
    | "node.cordon"
    | "node.uncordon"
    | "node.drain"
    | "dead.retry"
    | "dead.purge";
  /** What it is done to: a capability, a node, or what of many is meant, in words. */
  readonly target: string;
  /** Why, in the operator's words; `""`: nothing was said. */
  readonly reason: string;
}

/** Who does it, as far as this machine knows, and when. */
export interface Doer {
  /** `ada@box (admin)`: user, machine, and the mesh's user whose key is used. */
  readonly by: string;
  readonly at: string;
}

/** Does `work` in the operator's name. */
export async function operate<T>(
  session: Session,
  _deed: Deed,
  work: (doer: Doer) => Promise<T>,
): Promise<T> {
  return work({ by: nameOf(session), at: isoTime(systemClock.now()) });
}

function nameOf(session: Session): string {
  const role = session.target.inboxPrefix.replace(/^_INBOX_?/, "") || "admin";
  return `${userName()}@${hostname()} (${role})`.slice(0, 256);
}

/** In a container the process may run as a user without a name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? "?"}`;
  }
}
