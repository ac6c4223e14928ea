/**
 * The lanes of the task stream: one durable consumer per capability and precedence, pulled from by
 * the leader alone, for no more than it has slots.
 *
 * The client library pulls a fixed number ahead; here the number follows the free slots, so pull
 * requests are sent by hand. A request that is lost is forgotten when it would have expired, and
 * a message that is lost comes back after the ack-wait: both cost time, neither loses a task.
 */

import {
  AckPolicy,
  type ConsumerConfig,
  type ConsumerInfo,
  DeliverPolicy,
  JetStreamApiError,
  type JetStreamManager,
  ReplayPolicy,
} from "@nats-io/jetstream";
import { quickHeaders } from "@swarm-mesh/bus";
import {
  isCapability,
  MESH_RETRIES,
  MESH_TASKS,
  retrySubject,
  submitSubject,
} from "@swarm-mesh/protocol";
import type { Clock, Log } from "@swarm-mesh/runtime";
import { createInbox, type Msg, type NatsConnection, nanos, type Subscription } from "nats";
import { PRECEDENCE, type Precedence } from "./backlog.ts";
import { readAckSubject } from "./delivery-info.ts";
import { PULL_MAX, planPulls } from "./demand.ts";
import type { Delivery } from "./held-task.ts";

/** After it an unacknowledged message comes again; held messages are renewed well before. */
export const ACK_WAIT_MS = 120_000;
/** How long a pull request stays open in the server. */
const PULL_EXPIRES_MS = 10_000;
/** Pull requests one consumer may have open in the server. */
const WAITING_PULLS_MAX = 512;

interface Lane {
  readonly capability: string;
  readonly precedence: Precedence;
  readonly consumer: string;
  readonly reply: string;
  readonly subscription: Subscription;
  outstanding: number;
  waiting: number;
  /** The last message that came, by its place in the stream. */
  delivered: number;
  pulledAtMs: number;
  /** Messages that were in the old leader's hands and have not come yet. */
  unsettled: number;
}

export interface LanesOptions {
  readonly nc: NatsConnection;
  readonly manager: JetStreamManager;
  readonly clock: Clock;
  readonly log: Log;
  readonly inboxPrefix: string;
  readonly onDelivery: (delivery: Delivery) => void;
  /** Called when the last message that was in the old leader's hands has come. */
  readonly onSettled: () => void;
  readonly onBug: (error: unknown) => void;
}

export class Lanes {
  readonly #options: LanesOptions;
  readonly #inbox: string;
  readonly #lanes = new Map<string, readonly Lane[]>();
  readonly #opening = new Map<string, Promise<void>>();
  #serial = 0;
  #closed = false;

  constructor(options: LanesOptions) {
    this.#options = options;
    this.#inbox = createInbox(options.inboxPrefix);
  }

  /** Are messages still to come that were in the old leader's hands? */
  get unsettled(): number {
    let sum = 0;
    for (const lanes of this.#lanes.values()) for (const lane of lanes) sum += lane.unsettled;
    return sum;
  }

  /** The last message of a lane that came, by its place in the stream; 0: none yet. */
  delivered(capability: string, precedence: Precedence): number {
    const lane = this.#lanes.get(capability)?.find((one) => one.precedence === precedence);
    return lane?.delivered ?? 0;
  }

  /** Has the capability's consumers, so that it can be pulled from? */
  has(capability: string): boolean {
    return this.#lanes.has(capability);
  }

  /** Creates the capability's consumers when they are missing. A repeat changes nothing. */
  open(capability: string): Promise<void> {
    const opening = this.#opening.get(capability) ?? this.#open(capability, new Map());
    this.#opening.set(capability, opening);
    return opening.catch((error) => {
      this.#opening.delete(capability);
      throw error;
    });
  }

  /**
   * Takes over from an earlier leader: every consumer is made anew, which voids the old one's open
   * requests and hands what it held to us. Resolves when all of that is asked for.
   */
  async takeOver(): Promise<void> {
    const { manager, log } = this.#options;
    const held = new Map<string, Map<string, number>>();
    for await (const info of this.#consumers()) {
      const [precedence, capability] = splitName(info.name);
      if (precedence === undefined || !isCapability(capability)) continue;
      const byLane = held.get(capability) ?? new Map<string, number>();
      held.set(capability, byLane.set(precedence, info.num_ack_pending));
      await manager.consumers.delete(info.stream_name, info.name).catch((error) => {
        // A word from the server: it is gone either way. Silence: what the old leader held stays its.
        if (!(error instanceof JetStreamApiError)) throw error;
        log.debug({ consumer: info.name, err: error }, "consumer was gone");
      });
    }
    for (const [capability, byLane] of held) {
      const opening = this.#open(capability, byLane);
      this.#opening.set(capability, opening);
      await opening;
    }
  }

  /** The consumers of all lanes there are. */
  async *#consumers(): AsyncGenerator<ConsumerInfo> {
    for (const { name } of [MESH_TASKS, MESH_RETRIES]) {
      yield* this.#options.manager.consumers.list(name);
    }
  }

  /** Asks for as many tasks of the capability as there is room for. */
  pull(capability: string, room: number): void {
    const lanes = this.#lanes.get(capability);
    if (lanes === undefined || this.#closed) return;
    const asks = planPulls(lanes, room);
    lanes.forEach((lane, index) => {
      const ask = asks[index] ?? 0;
      if (ask > 0 && lane.unsettled === 0) this.#request(lane, ask, false);
    });
  }

  /** Forgets requests that have expired without a word. Call it now and then. */
  sweep(): void {
    const lostBefore = this.#options.clock.elapsed() - PULL_EXPIRES_MS - 2_000;
    for (const lanes of this.#lanes.values()) {
      for (const lane of lanes) {
        if (lane.pulledAtMs >= lostBefore) continue;
        lane.outstanding = 0;
        if (lane.unsettled > 0) this.#settleLane(lane, 0);
      }
    }
  }

  close(): void {
    this.#closed = true;
    for (const lanes of this.#lanes.values()) {
      for (const lane of lanes) lane.subscription.unsubscribe();
    }
  }

  async #open(capability: string, unsettled: ReadonlyMap<string, number>): Promise<void> {
    const waiting: number[] = [];
    for (const precedence of PRECEDENCE) {
      waiting.push(await this.#ensureConsumer(capability, precedence));
    }
    if (this.#closed) return;
    const lanes = PRECEDENCE.map((precedence, index) => {
      const lane = this.#subscribe(capability, precedence, unsettled.get(precedence) ?? 0);
      lane.waiting = waiting[index] ?? 0;
      return lane;
    });
    this.#lanes.set(capability, lanes);
    for (const lane of lanes) {
      if (lane.unsettled > 0) this.#request(lane, Math.min(lane.unsettled, PULL_MAX), true);
    }
  }

  /** Creates the consumer when it is missing; how many tasks wait for it. */
  async #ensureConsumer(capability: string, precedence: Precedence): Promise<number> {
    const config = consumerConfig(capability, precedence);
    const { manager } = this.#options;
    const stream = streamOf(precedence);
    try {
      return (await manager.consumers.add(stream, config)).num_pending;
    } catch (error) {
      if (!(error instanceof JetStreamApiError)) throw error;
      // A consumer of an older version differs: its messages wait in the stream, so it can go.
      await manager.consumers.delete(stream, consumerName(capability, precedence));
      return (await manager.consumers.add(stream, config)).num_pending;
    }
  }

  #subscribe(capability: string, precedence: Precedence, unsettled: number): Lane {
    const reply = `${this.#inbox}.${(this.#serial++).toString(36)}`;
    const subscription = this.#options.nc.subscribe(`${reply}.*`, {
      callback: (error, message) => {
        try {
          if (error !== null) throw error;
          if (!this.#closed) this.#receive(lane, message);
        } catch (failure) {
          this.#options.onBug(failure);
        }
      },
    });
    const lane: Lane = {
      capability,
      precedence,
      consumer: consumerName(capability, precedence),
      reply,
      subscription,
      outstanding: 0,
      waiting: 0,
      delivered: 0,
      pulledAtMs: 0,
      unsettled,
    };
    return lane;
  }

  #receive(lane: Lane, message: Msg): void {
    if (message.subject.startsWith(lane.reply)) {
      this.#status(lane, message);
      return;
    }
    const info = readAckSubject(message.reply ?? "");
    lane.outstanding = Math.max(0, lane.outstanding - 1);
    lane.waiting = info.pending;
    if (info.seq > lane.delivered) lane.delivered = info.seq;
    const examine = lane.unsettled > 0 || lane.precedence === "retry" || info.deliveries > 1;
    this.#options.onDelivery({
      subject: message.subject,
      headers: quickHeaders(message),
      payload: message.data,
      stream: streamOf(lane.precedence),
      seq: info.seq,
      storedAtMs: info.storedAtMs,
      ack: message.reply ?? "",
      examine,
    });
    if (lane.unsettled > 0) this.#settleLane(lane, lane.unsettled - 1);
  }

  /** A word from the server about a request: it expired, or the consumer is in trouble. */
  #status(lane: Lane, message: Msg): void {
    const code = message.headers?.code ?? 0;
    const settling = message.subject.endsWith(".s");
    if (code === 404 || code === 408) {
      const undelivered = Number(message.headers?.get("Nats-Pending-Messages"));
      lane.outstanding = Math.max(0, lane.outstanding - (undelivered || 0));
      lane.waiting = 0;
      // There is no more to hand over than has come.
      if (settling) {
        lane.outstanding = 0;
        this.#settleLane(lane, 0);
      }
      return;
    }
    if (code === 100) return;
    const { log } = this.#options;
    log.warn(
      { consumer: lane.consumer, code, status: message.headers?.description },
      "pull failed",
    );
    // Asked again at the next sweep, not at once: the server has trouble already.
    lane.outstanding = 0;
    lane.waiting = 0;
  }

  #settleLane(lane: Lane, left: number): void {
    lane.unsettled = left;
    if (left > 0 && lane.outstanding === 0) {
      this.#request(lane, Math.min(left, PULL_MAX), true);
    }
    if (left === 0) this.#options.onSettled();
  }

  #request(lane: Lane, batch: number, settling: boolean): void {
    lane.outstanding += batch;
    lane.pulledAtMs = this.#options.clock.elapsed();
    const body = settling
      ? `{"batch":${batch},"no_wait":true}`
      : `{"batch":${batch},"expires":${nanos(PULL_EXPIRES_MS)}}`;
    this.#options.nc.publish(
      `$JS.API.CONSUMER.MSG.NEXT.${streamOf(lane.precedence)}.${lane.consumer}`,
      body,
      {
        reply: `${lane.reply}.${settling ? "s" : "p"}`,
      },
    );
  }
}

/** The stream that holds the lane. */
function streamOf(precedence: Precedence): string {
  return precedence === "retry" ? MESH_RETRIES.name : MESH_TASKS.name;
}

// <precedence>-<capability>
function consumerName(capability: string, precedence: Precedence): string {
  return `${precedence}-${capability}`;
}

function splitName(name: string): [Precedence | undefined, string] {
  const dash = name.indexOf("-");
  const precedence = PRECEDENCE.find((one) => one === name.slice(0, dash));
  return [precedence, name.slice(dash + 1)];
}

function filtersOf(capability: string, precedence: Precedence): string[] {
  switch (precedence) {
    case "retry":
      return [retrySubject(capability)];
    case "normal":
      return [submitSubject(capability), submitSubject(capability, "normal")];
    case "high":
    case "low":
      return [submitSubject(capability, precedence)];
  }
}

function consumerConfig(capability: string, precedence: Precedence): Partial<ConsumerConfig> {
  const filters = filtersOf(capability, precedence);
  return {
    durable_name: consumerName(capability, precedence),
    description: `${capability}, ${precedence}`,
    ack_policy: AckPolicy.Explicit,
    deliver_policy: DeliverPolicy.All,
    replay_policy: ReplayPolicy.Instant,
    ack_wait: nanos(ACK_WAIT_MS),
    // Tries are counted in the record, not here: a message is never given up by the server.
    max_deliver: -1,
    max_ack_pending: -1,
    max_waiting: WAITING_PULLS_MAX,
    ...(filters.length === 1 ? { filter_subject: filters[0] ?? "" } : { filter_subjects: filters }),
  };
}
