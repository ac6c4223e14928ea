/** What happened to nodes and leaders, as the durable events say. Pure. */
import { decode, LeaderEvent, NodeEvent, tokenOf } from "@swarm-mesh/protocol";

export type EventRow =
  | ({ readonly seq: number; readonly about: "leader" } & LeaderEvent)
  | ({ readonly seq: number; readonly about: "node" } & NodeEvent);

/** An event as the page lists it; `undefined` for one that nobody can read. */
export function eventOf(seq: number, subject: string, data: Uint8Array): EventRow | undefined {
  if (tokenOf(subject, 2) === "leader") {
    const event = decode(LeaderEvent, data);
    return event.ok ? { seq, about: "leader", ...event.value } : undefined;
  }
  const event = decode(NodeEvent, data);
  return event.ok ? { seq, about: "node", ...event.value } : undefined;
}

/** One leader's time in office, as far as the kept events tell. */
export interface Term {
  readonly service: string;
  readonly instance: string;
  readonly epoch: number;
  readonly from: string;
  /** `undefined`: it leads, or nobody said when it stopped. */
  readonly until: string | undefined;
  readonly ended: "resigned" | "lost" | "replaced" | undefined;
}

/** The terms, newest first. A new term ends the one before it, whatever was heard of its end. */
export function termsOf(events: readonly EventRow[]): readonly Term[] {
  const terms: Term[] = [];
  for (const event of events) {
    if (event.about !== "leader") continue;
    const { service, instance, epoch, kind, at } = event;
    const last = terms.findLastIndex((term) => term.service === service);
    const open = terms[last];
    if (kind === "elected") {
      if (open !== undefined && open.until === undefined) {
        terms[last] = { ...open, until: at, ended: "replaced" };
      }
      terms.push({ service, instance, epoch, from: at, until: undefined, ended: undefined });
    } else if (open !== undefined && open.epoch === epoch) {
      terms[last] = { ...open, until: at, ended: kind };
    }
  }
  return terms.reverse();
}
