/**
 * What the leader asks of the store about the lanes' consumers: until it is answered, for a cluster that
 * has lost a server takes seconds to give an answer.
 */
import { JetStreamApiError, type JetStreamManager } from "@nats-io/jetstream";
import { API_TIMEOUT_MS, ASK_AGAIN_MS, isNoConsumer, isPassing } from "@swarm-mesh/bus";
import { decode, MESH_RETRIES, MESH_TASKS } from "@swarm-mesh/protocol";
import { type Clock, hedged, type Log, type Random, retry, within } from "@swarm-mesh/runtime";
import { type NatsConnection, TimeoutError } from "nats";
import { z } from "zod";
import { consumerConfig, consumerName, type LaneName, laneOf, streamOf } from "./lane-consumers.ts";

/** Between two tries; every task waits for them, and there is one who asks. */
const STORE_BACKOFF = { baseMs: 50, maxMs: 500 };
/** How long a consumer's leader is waited for; those that have one answer within milliseconds. */
const LEADERLESS_MS = 500;

export interface LaneStoreOptions {
  readonly nc: NatsConnection;
  readonly manager: JetStreamManager;
  /** Copies of everything that the store keeps. */
  readonly replicas: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Ends every wait for a store that does not answer. */
  readonly signal: AbortSignal;
}

/** The server's answer to a question for names, as far as it is read here. */
const Names = z.object({
  total: z.number().optional(),
  consumers: z.array(z.string()).nullish(),
  error: z.object({ code: z.number(), err_code: z.number(), description: z.string() }).optional(),
});

export class LaneStore {
  readonly #options: LaneStoreOptions;
  #saidBetween = false;

  constructor(options: LaneStoreOptions) {
    this.#options = options;
  }

  /** The lanes that have a consumer. */
  async find(): Promise<readonly LaneName[]> {
    const found = [MESH_TASKS, MESH_RETRIES].map(({ name }) =>
      this.#again(() => this.#hedged(() => this.#names(name))),
    );
    return (await Promise.all(found)).flat().flatMap((name) => laneOf(name) ?? []);
  }

  /**
   * How many of the lane's messages somebody has in hand; `undefined`: its consumer has no leader that
   * could say so. It is to be made anew all the same, and its own election would hold up every task.
   */
  heldOf(lane: LaneName): Promise<number | undefined> {
    const { clock, signal } = this.#options;
    const untilMs = clock.elapsed() + LEADERLESS_MS;
    const asked = this.#again(() => this.#hedged(() => this.#unacknowledged(lane)), untilMs);
    return within(signal, (inner) =>
      Promise.race([asked, clock.sleep(LEADERLESS_MS, inner).then(() => undefined)]),
    );
  }

  /** Makes the lane's consumer anew; how many tasks wait for it. */
  async makeAnew(lane: LaneName): Promise<number> {
    await this.#again(() => this.#delete(lane));
    return this.make(lane);
  }

  /** Makes the lane's consumer when it is missing; how many tasks wait for it. */
  make(lane: LaneName): Promise<number> {
    return this.#again(() => this.#ensure(lane));
  }

  async #names(stream: string): Promise<readonly string[]> {
    const { nc } = this.#options;
    const found: string[] = [];
    for (;;) {
      // By name: a list with what is known of each waits 4 s for all that have no leader.
      const subject = `$JS.API.CONSUMER.NAMES.${stream}`;
      const reply = await nc.request(subject, `{"offset":${found.length}}`, {
        timeout: API_TIMEOUT_MS,
      });
      const page = decode(Names, reply.data);
      if (!page.ok) throw new Error(`names of the consumers of ${stream}: ${page.problem}`);
      const { consumers, error, total = 0 } = page.value;
      if (error !== undefined) throw new JetStreamApiError(error);
      found.push(...(consumers ?? []));
      if (!consumers?.length || found.length >= total) return found;
    }
  }

  async #unacknowledged({ capability, precedence }: LaneName): Promise<number> {
    const { manager, replicas } = this.#options;
    const name = consumerName(capability, precedence);
    try {
      const info = await manager.consumers.info(streamOf(precedence), name);
      // A server that has just started may answer before it knows: neither the state, nor who leads.
      if (replicas > 1 && !info.cluster?.leader) throw new TimeoutError();
      return info.num_ack_pending;
    } catch (error) {
      if (isNoConsumer(error)) return 0;
      throw error;
    }
  }

  async #delete({ capability, precedence }: LaneName): Promise<void> {
    const { clock, manager, log, signal } = this.#options;
    const stream = streamOf(precedence);
    const name = consumerName(capability, precedence);
    const deleted = manager.consumers.delete(stream, name).catch((error) => {
      // A word from the server: it is gone either way. Silence: what the old leader held stays its.
      if (!(error instanceof JetStreamApiError) || isPassing(error)) throw error;
      log.debug({ consumer: name, err: error }, "consumer was gone");
    });
    // One without a leader goes without a word. It is looked for, not ordered away again: a second order
    // may come when there is a new one.
    const seenGone = async (inner: AbortSignal): Promise<void> => {
      for (let isThere = true; isThere; ) {
        await clock.sleep(ASK_AGAIN_MS, inner);
        if (inner.aborted) throw new TimeoutError();
        const look = manager.consumers.info(stream, name);
        isThere = !(await look.then(() => false, isNoConsumer));
      }
    };
    await within(signal, (inner) => Promise.race([deleted, seenGone(inner)]));
  }

  async #ensure({ capability, precedence }: LaneName): Promise<number> {
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

  /** Not for what changes something: a second order may come when the first was long carried out. */
  #hedged<T>(ask: () => Promise<T>): Promise<T> {
    return hedged(ask, { clock: this.#options.clock, everyMs: ASK_AGAIN_MS });
  }

  #again<T>(ask: () => Promise<T>, untilMs = Number.POSITIVE_INFINITY): Promise<T> {
    const { clock, random, log, signal } = this.#options;
    return retry(ask, {
      ...{ clock, random, signal },
      policy: STORE_BACKOFF,
      retryable: (error) => {
        if (!isPassing(error) || clock.elapsed() >= untilMs) return false;
        // Said once: all of them wait for the same.
        if (!this.#saidBetween) log.info({ err: error }, "the store is between leaders");
        this.#saidBetween = true;
        return true;
      },
    });
  }
}
