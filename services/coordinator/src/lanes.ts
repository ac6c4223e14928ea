/**
 * The lanes of the task stream: one durable consumer per capability and precedence, pulled from by
 * the leader alone, for no more than it has slots.
 *
 * The client library pulls a fixed number ahead; here the number follows the free slots, so pull
 * requests are sent by hand. A request that is lost is forgotten when it would have expired, and
 * a message that is lost comes back after the ack-wait: both cost time, neither loses a task.
 */

import { type ConsumerInfo, JetStreamApiError, type JetStreamManager } from "@nats-io/jetstream";
import { isPassing, quickHeaders } from "@swarm-mesh/bus";
import { isCapability, MESH_RETRIES, MESH_TASKS } from "@swarm-mesh/protocol";
import { type Clock, type Log, type Random, retry } from "@swarm-mesh/runtime";
import { createInbox, type Msg, type NatsConnection, nanos, type Subscription } from "nats";
import { PRECEDENCE, type Precedence } from "./backlog.ts";
import { readAckSubject } from "./delivery-info.ts";
import { PULL_MAX, planPulls } from "./demand.ts";
import type { Delivery } from "./held-task.ts";
import { consumerConfig, consumerName, splitName, streamOf } from "./lane-consumers.ts";

/** How long a pull request stays open in the server. */
const PULL_EXPIRES_MS = 10_000;
/** How long a consumer in trouble, as one whose cluster elects its leader, is left alone. */
const REST_MS = 500;
/** Between two tries to make the consumers; every task waits for them, and there is one who asks. */
const STORE_BACKOFF = { baseMs: 50, maxMs: 500 };

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
  /** Nothing is asked for before; since its consumer was in trouble. */
  restUntilMs: number;
}

export interface LanesOptions {
  readonly nc: NatsConnection;
  readonly manager: JetStreamManager;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Ends every wait for a store that does not answer. */
  readonly signal: AbortSignal;
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
    const held = new Map<string, Map<string, number>>();
    const old: ConsumerInfo[] = [];
    for (const info of await this.#again(() => this.#consumers())) {
      const [precedence, capability] = splitName(info.name);
      if (precedence === undefined || !isCapability(capability)) continue;
      const byLane = held.get(capability) ?? new Map<string, number>();
      held.set(capability, byLane.set(precedence, info.num_ack_pending));
      old.push(info);
    }
    await inGroups(old, PRECEDENCE.length, (info) => this.#again(() => this.#delete(info)));
    await inGroups([...held], 1, ([capability, byLane]) => {
      const opening = this.#open(capability, byLane);
      this.#opening.set(capability, opening);
      return opening;
    });
  }

  /** The consumers of all lanes there are. */
  async #consumers(): Promise<readonly ConsumerInfo[]> {
    const found: ConsumerInfo[] = [];
    for (const { name } of [MESH_TASKS, MESH_RETRIES]) {
      for await (const info of this.#options.manager.consumers.list(name)) found.push(info);
    }
    return found;
  }

  async #delete(info: ConsumerInfo): Promise<void> {
    const { manager, log } = this.#options;
    await manager.consumers.delete(info.stream_name, info.name).catch((error) => {
      // A word from the server: it is gone either way. Silence: what the old leader held stays its.
      if (!(error instanceof JetStreamApiError) || isPassing(error)) throw error;
      log.debug({ consumer: info.name, err: error }, "consumer was gone");
    });
  }

  /** Asks until there is an answer: a cluster that has lost a server takes seconds to give one. */
  #again<T>(ask: () => Promise<T>): Promise<T> {
    const { clock, random, log, signal } = this.#options;
    return retry(ask, {
      ...{ clock, random, signal },
      policy: STORE_BACKOFF,
      retryable: (error) => {
        if (this.#closed || !isPassing(error)) return false;
        log.info({ err: error }, "the store is between leaders");
        return true;
      },
    });
  }

  /** Asks for as many tasks of the capability as there is room for. */
  pull(capability: string, room: number): void {
    const lanes = this.#lanes.get(capability);
    if (lanes === undefined || this.#closed) return;
    const asks = planPulls(lanes, room);
    const now = this.#options.clock.elapsed();
    lanes.forEach((lane, index) => {
      const ask = asks[index] ?? 0;
      const resting = now < lane.restUntilMs;
      if (ask > 0 && lane.unsettled === 0 && !resting) this.#request(lane, ask, false);
    });
  }

  /** Forgets requests that have expired without a word. Call it now and then. */
  sweep(): void {
    const now = this.#options.clock.elapsed();
    const lostBefore = now - PULL_EXPIRES_MS - 2_000;
    for (const lanes of this.#lanes.values()) {
      for (const lane of lanes) {
        // What is to be handed over was asked for in vain: the consumer had no leader.
        if (lane.unsettled > 0 && lane.outstanding === 0 && now >= lane.restUntilMs) {
          this.#settleLane(lane, lane.unsettled);
        }
        if (lane.pulledAtMs >= lostBefore) continue;
        lane.outstanding = 0;
        if (lane.unsettled > 0) this.#settleLane(lane, 0);
      }
    }
  }

  /** Forgets every open request, as the server has: its consumers are led elsewhere now, or it is new. */
  forgetPulls(): void {
    for (const lanes of this.#lanes.values()) {
      for (const lane of lanes) {
        lane.outstanding = 0;
        if (lane.unsettled > 0) this.#settleLane(lane, lane.unsettled);
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
    const waiting = await Promise.all(
      PRECEDENCE.map((precedence) =>
        this.#again(() => this.#ensureConsumer(capability, precedence)),
      ),
    );
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
      if (!(error instanceof JetStreamApiError) || isPassing(error)) throw error;
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
      restUntilMs: Number.NEGATIVE_INFINITY,
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
    const { clock, log } = this.#options;
    const now = clock.elapsed();
    // Said once for as long as it lasts.
    if (now - lane.restUntilMs > 2 * REST_MS) {
      const status = message.headers?.description;
      log.warn({ consumer: lane.consumer, code, status }, "pull failed");
    }
    // Asked again at a later sweep, not at once: the server has trouble already.
    lane.restUntilMs = now + REST_MS;
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

/** Capabilities whose consumers are made at a time. Each takes a cluster seconds, all take no more. */
const GROUP = 32;

/** Does `work` for all, `GROUP` × `factor` at a time. */
async function inGroups<T>(
  items: readonly T[],
  factor: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  for (let from = 0; from < items.length; from += GROUP * factor) {
    await Promise.all(items.slice(from, from + GROUP * factor).map(work));
  }
}
