/**
 * What people do to the mesh: every command that changes how it works, or what it keeps, does so in
 * {@link operate}, so that there is one place that knows who did what to what, and why.
 */
import { hostname, userInfo } from "node:os";
import { AuditTrail, Requester, SigningKey } from "@swarm-mesh/bus";
import type { AuditDeed } from "@swarm-mesh/protocol";
import { isoTime, systemClock, systemRandom } from "@swarm-mesh/runtime";
import { readSeed } from "@swarm-mesh/server";
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
  deed: Deed,
  work: (doer: Doer) => Promise<T>,
): Promise<T> {
  const by = nameOf(session);
  await tell(session, { ...deed, details: {} }, by);
  return work({ by, at: isoTime(systemClock.now()) });
}

/**
 * Writes the deed into the audit trail, before it is done: what is not done after all, or changes
 * nothing, is there as well. When the store is away it is done all the same, and said that nobody
 * noted it: a node has to be drained in such a night too.
 */
async function tell(session: Session, deed: Omit<AuditDeed, "who">, name: string): Promise<void> {
  const { inboxPrefix, nkey } = session.target;
  const user = nkey === undefined ? undefined : new SigningKey(await readSeed(nkey)).publicKey;
  const requester = new Requester(session.nc, { inboxPrefix });
  const manager = await session.manager();
  const shared = { requester, manager, clock: systemClock, random: systemRandom };
  const who = { name, ...(user === undefined ? {} : { user }) };
  const trail = new AuditTrail({ ...shared, by: "swarmctl" });
  const over = new AbortController();
  const late = systemClock.sleep(TELL_TIMEOUT_MS, over.signal).then(() => undefined);
  try {
    const entry = await Promise.race([trail.append({ ...deed, who }, over.signal), late]);
    if (entry === undefined) session.warn("the audit trail did not answer: this is not in it");
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    session.warn(`this is not in the audit trail: ${problem}`);
  } finally {
    over.abort();
  }
}

/** How long a person waits for the trail. */
const TELL_TIMEOUT_MS = 2_000;

function nameOf(session: Session): string {
  const role = session.target.inboxPrefix.replace(/^_INBOX_?/, "") || "admin";
  return `${userName()}@${hostname()} (${role})`.slice(0, 256);
}

/** Who runs this. In a container the process may run as a user without a name. */
export function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? "?"}`;
  }
}
