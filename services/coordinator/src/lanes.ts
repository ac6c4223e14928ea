/**
 * The lanes of the task stream: one durable consumer per capability and precedence, pulled from by
 * the leader alone, for no more than it has slots.
 *
 * The client library pulls a fixed number ahead; here the number follows the free slots, so pull
 * requests are sent by hand. A request that is lost is forgotten when it would have expired, and
 * a message that is lost comes back after the ack-wait: both cost time, neither loses a task.
 */

import { quickHeaders } from "@swarm-mesh/bus";
import { Wakeup } from "@swarm-mesh/runtime";
import { createInbox, type Msg, nanos, type Subscription } from "nats";
import { PRECEDENCE, type Precedence } from "./backlog.ts";
import { readAckSubject } from "./delivery-info.ts";
import { PULL_MAX, planPulls, toSettle } from "./demand.ts";
import type { Delivery } from "./held-task.ts";
import { consumerName, streamOf } from "./lane-consumers.ts";
import { LaneStore, type LaneStoreOptions } from "./lane-store.ts";

/** How long a pull request stays open in the server. */
const PULL_EXPIRES_MS = 10_000;
/** How long a consumer in trouble, as one whose cluster elects its leader, is left alone. */
const REST_MS = 500;

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

export interface LanesOptions extends LaneStoreOptions {
  readonly inboxPrefix: string;
  readonly onDelivery: (delivery: Delivery) => void;
  /** Called when the last message that was in the old leader's hands has come. */
  readonly onSettled: () => void;
  readonly onBug: (error: unknown) => void;
}

export class Lanes {
  readonly #options: LanesOptions;
  readonly #store: LaneStore;
  readonly #inbox: string;
  readonly #lanes = new Map<string, readonly Lane[]>();
  readonly #opening = new Map<string, Promise<void>>();
  readonly #lost = new Wakeup();
  #serial = 0;
  #closed = false;

  constructor(options: LanesOptions) {
    this.#options = options;
    this.#store = new LaneStore(options);
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
    const store = this.#store;
    const old = await store.find();
    const held = new Map<string, Map<Precedence, number | undefined>>();
    await inGroups(old, PRECEDENCE.length, async (lane) => {
      const byLane = held.get(lane.capability) ?? new Map<Precedence, number | undefined>();
      held.set(lane.capability, byLane);
      byLane.set(lane.precedence, await store.heldOf(lane));
    });
    await inGroups([...held], 1, ([capability, byLane]) => {
      const opening = this.#open(capability, byLane);
      this.#opening.set(capability, opening);
      return opening;
    });
  }

  /**
   * Makes every consumer anew whenever a link or a server was lost, until `signal` aborts. What was on its
   * way to us then nobody has, and the server would give it out again only after the ack-wait.
   */
  async recover(signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#lost.wait(signal);
      if (signal.aborted) return;
      this.#lost.clear();
      const lanes = [...this.#lanes.values()].flat();
      try {
        await inGroups(lanes, PRECEDENCE.length, (lane) => this.#makeAnew(lane));
      } catch (error) {
        if (!signal.aborted) throw error;
      }
      this.#options.log.info({ unsettled: this.unsettled }, "consumers made anew");
    }
  }

  async #makeAnew(lane: Lane): Promise<void> {
    const held = await this.#store.heldOf(lane);
    // Its last words are of no interest, and nothing is asked of it.
    lane.restUntilMs = Number.POSITIVE_INFINITY;
    const waiting = await this.#store.makeAnew(lane);
    if (this.#closed) return;
    lane.restUntilMs = Number.NEGATIVE_INFINITY;
    lane.outstanding = 0;
    lane.waiting = waiting;
    this.#settleLane(lane, toSettle(held, waiting));
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

  /**
   * Forgets every open request, as the server has: its consumers are led elsewhere now, or it is new. What
   * it had sent is recovered when there is time, see {@link recover}.
   */
  forgetPulls(): void {
    this.#lost.ring();
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

  /** `held`: what an old leader had in hand, of each lane that was there. */
  async #open(
    capability: string,
    held: ReadonlyMap<Precedence, number | undefined>,
  ): Promise<void> {
    const store = this.#store;
    const waiting = await Promise.all(
      PRECEDENCE.map((precedence) => {
        const lane = { capability, precedence };
        return held.has(precedence) ? store.makeAnew(lane) : store.make(lane);
      }),
    );
    if (this.#closed) return;
    const lanes = PRECEDENCE.map((precedence, index) => {
      const lane = this.#subscribe(capability, precedence);
      lane.waiting = waiting[index] ?? 0;
      if (held.has(precedence)) lane.unsettled = toSettle(held.get(precedence), lane.waiting);
      return lane;
    });
    this.#lanes.set(capability, lanes);
    for (const lane of lanes) {
      if (lane.unsettled > 0) this.#request(lane, Math.min(lane.unsettled, PULL_MAX), true);
    }
  }

  #subscribe(capability: string, precedence: Precedence): Lane {
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
      unsettled: 0,
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
    if (code === 100 || lane.restUntilMs === Number.POSITIVE_INFINITY) return;
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
