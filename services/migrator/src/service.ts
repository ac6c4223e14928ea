/**
 * The migrator: hears that a node failed or left, and has the leader place its tasks again.
 *
 * It owns one durable consumer, shared by all replicas, and no memory: an event is acknowledged when
 * the leader says that nothing is held any more, so whoever dies half-way leaves it to another. The
 * tasks that were moved before are answered `stale` then; moving is the coordinator's own write.
 */
import {
  AckPolicy,
  type ConsumerConfig,
  type ConsumerMessages,
  DeliverPolicy,
  type JsMsg,
  jetstream,
  ReplayPolicy,
} from "@nats-io/jetstream";
import { ask, driftOf, isNoConsumer, StoreMismatchError, serve } from "@swarm-mesh/bus";
import type { ServiceDefinition, ServiceDeps } from "@swarm-mesh/process";
import {
  decode,
  Held,
  heldSubject,
  MESH_EVENTS,
  MoveAnswer,
  type MoveReason,
  type MoveRequest,
  moveSubject,
  NodeEvent,
  nodeEventSubject,
  VERSION,
} from "@swarm-mesh/protocol";
import {
  aborted,
  backoffMs,
  LOOP_BACKOFF,
  type Log,
  latch,
  REQUEST_BACKOFF,
  ticks,
  timeOf,
  together,
} from "@swarm-mesh/runtime";
import { nanos } from "nats";
import type { z } from "zod";
import { Config } from "./config.ts";
import { MigratorMeters } from "./meters.ts";
import {
  afterRound,
  judgeReply,
  moveReasonOf,
  NO_PROGRESS,
  type Progress,
  planMigration,
} from "./migration.ts";

/** The consumer that all replicas share. */
const CONSUMER = "migrator";
/** How long one pull waits. */
const PULL_MS = 10_000;
/**
 * How often the server says meanwhile that it knows of the pull. After two times of silence it is asked
 * anew: a pull ends without a word with the server that led the consumer.
 */
const HEARD_EVERY_MS = 1_000;

export type MigratorDeps = Omit<ServiceDeps, "log"> & { readonly log: Log };

/** The service as a process runs it. */
export const migrator: ServiceDefinition<typeof Config> = {
  name: "migrator",
  config: Config,
  run: runMigrator,
};

/** Runs until `signal` aborts; events in hand are given back then. Rejects only on a bug. */
export function runMigrator(
  config: Config,
  deps: MigratorDeps,
  signal: AbortSignal,
): Promise<void> {
  return new Migrator(config, deps).run(signal);
}

/** An event that cannot be settled now; it comes again. */
class PutOffError extends Error {
  override readonly name = "PutOffError";
}

class Migrator {
  readonly #config: Config;
  readonly #deps: MigratorDeps;
  readonly #inHand = new Set<Promise<void>>();
  readonly #listening = latch<void>();
  readonly #meters: MigratorMeters;
  #ready = false;

  constructor(config: Config, deps: MigratorDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#meters = new MigratorMeters(deps.meters, () => this.#inHand.size);
  }

  async run(signal: AbortSignal): Promise<void> {
    await together(signal, [(inner) => this.#serve(inner), (inner) => this.#follow(inner)]);
    await Promise.all(this.#inHand);
  }

  /** Nothing to ask of it, but `$SRV` discovery shows that it is there. */
  #serve(signal: AbortSignal): Promise<void> {
    const { instance, log, meters, nc } = this.#deps;
    return serve(nc, {
      name: "migrator",
      version: VERSION,
      description: "Has the tasks of nodes that failed or left placed again",
      metadata: { instance },
      endpoints: [],
      onListening: () => this.#listening.resolve(),
      meters,
      log,
      signal,
    });
  }

  /** Consumes events, anew whenever that ends: the server restarted, or somebody deleted it. */
  async #follow(signal: AbortSignal): Promise<void> {
    const { clock, log, random } = this.#deps;
    await Promise.race([this.#listening.promise, aborted(signal)]);
    for (let failures = 0; !signal.aborted; ) {
      try {
        await this.#ensureConsumer();
        await this.#consume(signal, () => {
          failures = 0;
        });
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof StoreMismatchError) throw error;
        log.warn({ err: error }, "consuming failed");
      }
      failures++;
      await clock.sleep(backoffMs(LOOP_BACKOFF, failures, random), signal);
    }
  }

  async #consume(signal: AbortSignal, onEvent: () => void): Promise<void> {
    const { nc, manager } = this.#deps;
    const js = jetstream(nc, { ...manager.getOptions(), checkAPI: false });
    const consumer = await js.consumers.get(MESH_EVENTS.name, CONSUMER);
    const messages: ConsumerMessages = await consumer.consume({
      max_messages: this.#config.nodesMax,
      expires: PULL_MS,
      idle_heartbeat: HEARD_EVERY_MS,
      // Somebody deleted the consumer: it is made anew.
      abort_on_missing_resource: true,
    });
    const stop = (): void => messages.stop();
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    this.#sayReady();
    try {
      for await (const message of messages) {
        if (signal.aborted) return;
        onEvent();
        while (this.#inHand.size >= this.#config.nodesMax) await Promise.race(this.#inHand);
        this.#take(message, signal);
      }
    } finally {
      signal.removeEventListener("abort", stop);
      messages.stop();
    }
  }

  #take(message: JsMsg, signal: AbortSignal): void {
    const handled = this.#handle(message, signal).finally(() => this.#inHand.delete(handled));
    this.#inHand.add(handled);
  }

  /** The same event again finds nothing held, and is acknowledged. Never rejects. */
  async #handle(message: JsMsg, signal: AbortSignal): Promise<void> {
    const { log } = this.#deps;
    const event = decode(NodeEvent, message.data);
    if (!event.ok) {
      log.warn({ subject: message.subject, problem: event.problem }, "event dropped");
      this.#meters.events.of("dropped").inc();
      message.term(event.problem);
      return;
    }
    const reason = moveReasonOf(event.value);
    if (reason === undefined) {
      log.warn({ subject: message.subject, to: event.value.to }, "event dropped");
      this.#meters.events.of("dropped").inc();
      message.term(`${event.value.to} ends no life`);
      return;
    }
    const settled = new AbortController();
    const either = AbortSignal.any([signal, settled.signal]);
    const renewing = this.#renew(message, either);
    try {
      await this.#migrate(event.value, reason, signal);
      this.#meters.events.of("settled").inc();
      message.ack();
    } catch (error) {
      const nodeId = event.value.node;
      if (error instanceof PutOffError) {
        log.warn({ nodeId, problem: error.message }, "event put off");
      } else {
        log.error({ nodeId, err: error }, "event put off");
      }
      this.#meters.events.of("put_off").inc();
      // On a stop another replica may have it at once.
      message.nak(signal.aborted ? 0 : this.#config.retryAfterMs);
    } finally {
      settled.abort();
      await renewing;
    }
  }

  /** Keeps the event in our hand while it is worked on. */
  async #renew(message: JsMsg, signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    for await (const _ of ticks({ clock, everyMs: this.#config.ackWaitMs / 3, signal })) {
      message.working();
    }
  }

  async #migrate(event: NodeEvent, reason: MoveReason, signal: AbortSignal): Promise<void> {
    const { clock, log, random } = this.#deps;
    const { node, incarnation } = event;
    const startedAt = clock.elapsed();
    let progress = NO_PROGRESS;
    for (;;) {
      const held = await this.#ask(heldSubject(node), { incarnation }, Held, signal);
      const step = planMigration(held, progress);
      if (step.kind === "settled") break;
      if (step.kind === "put-off") throw new PutOffError("the leader keeps naming tasks it moved");
      progress = await this.#moveAll(step.tasks, { from: node, reason }, { progress, signal });
      if (progress.idleRounds > 0) {
        await clock.sleep(backoffMs(REQUEST_BACKOFF, progress.idleRounds, random), signal);
      }
    }
    const { movedCount: moved, staleCount: stale } = progress;
    const elapsedMs = Math.round(clock.elapsed() - startedAt);
    log.info({ nodeId: node, incarnation, reason, moved, stale, elapsedMs }, "node migrated");
    if (event.to === "FAILED") {
      this.#meters.failover.observeMs(clock.now() - timeOf(event.at));
    }
  }

  /** Has every task moved, a bounded number at a time. */
  async #moveAll(
    tasks: Held["tasks"],
    move: { readonly from: string; readonly reason: MoveReason },
    { progress, signal }: { readonly progress: Progress; readonly signal: AbortSignal },
  ): Promise<Progress> {
    const answers: ("moved" | "stale")[] = [];
    const waiting = tasks.values();
    const worker = async (): Promise<void> => {
      for (const { id, attempt } of waiting) {
        const request: MoveRequest = { ...move, attempt };
        const { answer } = await this.#ask(moveSubject(id), request, MoveAnswer, signal);
        this.#meters.moves.of(answer).inc();
        answers.push(answer);
      }
    };
    const count = Math.min(this.#config.movesMax, tasks.length);
    await Promise.all(Array.from({ length: count }, worker));
    return afterRound(progress, answers);
  }

  /** Asks the leader until it answers. Rejects when it refuses for good, or on `signal`. */
  async #ask<S extends z.ZodType>(
    subject: string,
    body: unknown,
    schema: S,
    signal: AbortSignal,
  ): Promise<z.infer<S>> {
    const { clock, log, random, requester } = this.#deps;
    const options = { timeoutMs: this.#config.requestTimeoutMs };
    for (let failures = 1; ; failures++) {
      const verdict = judgeReply(await ask(requester, subject, body, schema, options));
      if (verdict.kind === "answered") return verdict.value;
      if (verdict.kind === "refused") throw new PutOffError(`${subject}: ${verdict.problem}`);
      if (signal.aborted) throw new PutOffError("stopped");
      // No bound: without a leader no event can be settled, and this one stays in our hand.
      if (failures % 10 === 0)
        log.warn({ subject, problem: verdict.problem }, "leader asked again");
      await clock.sleep(backoffMs(REQUEST_BACKOFF, failures, random), signal);
    }
  }

  async #ensureConsumer(): Promise<void> {
    const { manager } = this.#deps;
    const wanted = consumerConfig(this.#config);
    const found = await manager.consumers.info(MESH_EVENTS.name, CONSUMER).catch((error) => {
      if (isNoConsumer(error)) return undefined;
      throw error;
    });
    if (found === undefined) {
      // Two replicas may create it at once: the same configuration again is no error.
      await manager.consumers.add(MESH_EVENTS.name, wanted);
      return;
    }
    const differences = driftOf(wanted, found.config);
    if (differences.length > 0) {
      throw new StoreMismatchError(
        `consumer ${CONSUMER} of ${MESH_EVENTS.name} is not as the migrator needs it: ` +
          `${differences.join("; ")}. Delete it, and it is made anew: events are then read again, ` +
          "which is harmless.",
      );
    }
  }

  #sayReady(): void {
    if (this.#ready) return;
    this.#ready = true;
    this.#deps.ready();
  }
}

function consumerConfig(config: Config): Partial<ConsumerConfig> {
  return {
    durable_name: CONSUMER,
    description: "Ends of nodes' lives, for the migrator",
    filter_subjects: [nodeEventSubject("*", "failed"), nodeEventSubject("*", "left")],
    // The first replica ever reads the last 7 days; what is settled is acknowledged at once.
    deliver_policy: DeliverPolicy.All,
    replay_policy: ReplayPolicy.Instant,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(config.ackWaitMs),
    max_deliver: -1,
    max_ack_pending: 1_000,
  };
}
