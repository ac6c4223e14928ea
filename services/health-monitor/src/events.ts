/**
 * Tells what the records say: publishes the durable event of each change of a node.
 *
 * The event follows the write, never the other way round: an event of a write that then loses its
 * compare-and-swap would have the migrator move the tasks of a living node. A replica that dies
 * between the two would leave a failure untold, so *every* replica that sees a life's end in its
 * view tells it, and so does one that starts within a minute of it. All use the same message id;
 * the server keeps the first and drops the others for two minutes. Should all replicas be dead for
 * longer, the registry tells the end before the node's next life, and the coordinator's own sweep
 * places tasks again that have had no living node for 30 s.
 */
import type { Requester } from "@swarm-mesh/bus";
import {
  encode,
  type NodeEvent,
  type NodeEventKind,
  nodeEventId,
  nodeEventSubject,
} from "@swarm-mesh/protocol";
import type { Clock, Log } from "@swarm-mesh/runtime";
import { headers } from "nats";

/** How long a told id is remembered: the server's dedupe window. */
const TOLD_MS = 120_000;
/** How long one try may take; the next sweep tries again. */
const TIMEOUT_MS = 2_000;

interface Untold {
  readonly subject: string;
  readonly event: NodeEvent;
}

export interface EventsDeps {
  readonly requester: Requester;
  readonly clock: Clock;
  readonly log: Log;
}

/** Events to be told, until the store has them. At most one for each change of a record. */
export class Events {
  readonly #deps: EventsDeps;
  readonly #untold = new Map<string, Untold>();
  readonly #told = new Map<string, number>();
  readonly #sending = new Set<string>();

  constructor(deps: EventsDeps) {
    this.#deps = deps;
  }

  /**
   * Tells an event, unless this replica has told it. `revision` is part of the message id of what
   * may happen more than once in a life.
   */
  tell(kind: NodeEventKind, event: NodeEvent, revision: number): void {
    const repeats = kind === "degraded" || kind === "recovered";
    const id = `${nodeEventId(event.node, event.incarnation, kind)}${repeats ? `.${revision}` : ""}`;
    if (this.#untold.has(id) || this.#told.has(id)) return;
    this.#untold.set(id, { subject: nodeEventSubject(event.node, kind), event });
    this.flush();
  }

  /** Tries again what was not stored. */
  flush(): void {
    const now = this.#deps.clock.elapsed();
    for (const [id, at] of this.#told) if (now - at > TOLD_MS) this.#told.delete(id);
    for (const [id, untold] of this.#untold) if (!this.#sending.has(id)) this.#send(id, untold);
  }

  #send(id: string, { subject, event }: Untold): void {
    const { clock, log, requester } = this.#deps;
    const h = headers();
    h.set("Nats-Msg-Id", id);
    this.#sending.add(id);
    requester.store(
      subject,
      encode(event),
      (stored) => {
        this.#sending.delete(id);
        if (stored.kind !== "stored") log.warn({ subject, stored }, "event not stored");
        // What the store will never take cannot be told by trying again.
        if (stored.kind !== "stored" && stored.kind !== "refused") return;
        this.#untold.delete(id);
        this.#told.set(id, clock.elapsed());
      },
      { headers: h, timeoutMs: TIMEOUT_MS },
    );
  }
}
