import type { ServiceDeps } from "@swarm-mesh/process";
import { encode, type LeaderEvent, leaderEventSubject } from "@swarm-mesh/protocol";
import { isoTime } from "@swarm-mesh/runtime";
import { headers } from "nats";

const SERVICE = "coordinator";
/** A term does not wait longer for its announcement. */
const TIMEOUT_MS = 1_000;

/** Tells what became of this replica's leadership. A repeat is dropped by its message id. */
export async function announceLeader(
  deps: Pick<ServiceDeps, "clock" | "instance" | "requester" | "log">,
  kind: LeaderEvent["kind"],
  epoch: number,
): Promise<void> {
  const { clock, instance, requester, log } = deps;
  const at = isoTime(clock.now());
  const event: LeaderEvent = { service: SERVICE, instance, epoch, kind, at };
  const h = headers();
  h.set("Nats-Msg-Id", `leader.${SERVICE}.${epoch}.${kind}`);
  const stored = await requester.stored(leaderEventSubject(SERVICE), encode(event), {
    headers: h,
    timeoutMs: TIMEOUT_MS,
  });
  if (stored.kind !== "stored") log.warn({ kind, epoch, stored }, "leader event not stored");
}
