/** A simulated migrator, as services/migrator/src/service.ts has it. */
import {
  type Held,
  heldSubject,
  type MoveAnswer,
  type MoveReason,
  moveSubject,
  type NodeEvent,
  type WireError,
} from "@swarm-mesh/protocol";
import { backoffMs, LOOP_BACKOFF, REQUEST_BACKOFF } from "@swarm-mesh/runtime";
import { Config } from "../../services/migrator/src/config.ts";
import {
  afterRound,
  judgeReply,
  moveReasonOf,
  NO_PROGRESS,
  type Progress,
  planMigration,
  type Reply,
} from "../../services/migrator/src/migration.ts";
import type { Consumer, Delivered } from "./streams.ts";
import { Host, type World } from "./world.ts";

const CONFIG = Config.parse({});
const CONSUMER = "migrator";
const PULL_MS = 10_000;
const API_TIMEOUT_MS = 2_000;

/** An event that cannot be settled now; it comes again. */
class PutOffError extends Error {
  override readonly name = "PutOffError";
}

export function migrator(world: World, name: string): Host {
  return new Host(world, name, (host) => void new Migrator(host));
}

class Migrator {
  readonly #host: Host;
  readonly #config = CONFIG;
  #open = 0;

  constructor(host: Host) {
    this.#host = host;
    host.spawn(this.#follow());
    // Requests that were open in a lost connection are gone.
    host.link.onLink((up) => {
      if (up) this.#open = 0;
    });
  }

  async #follow(): Promise<void> {
    const { process, random, requester, world } = this.#host;
    const isEnd = (subject: string): boolean => subject === "failed" || subject === "left";
    for (let failures = 0; ; failures++) {
      const made = await requester.ask(
        () => world.store.events.ensureConsumer(CONSUMER, isEnd, CONFIG.ackWaitMs),
        API_TIMEOUT_MS,
      );
      if (made !== undefined) break;
      await process.clock.sleep(backoffMs(LOOP_BACKOFF, failures + 1, random));
    }
    this.#pull();
    process.every(PULL_MS / 2, () => this.#pull());
  }

  /** Keeps a request open. One that is lost is forgotten when its time is over. */
  #pull(): void {
    const { link, process, world } = this.#host;
    if (this.#open > 0) return;
    this.#open++;
    let isOver = false;
    const over = (): void => {
      if (isOver) return;
      isOver = true;
      this.#open = Math.max(0, this.#open - 1);
      this.#pull();
    };
    process.after(PULL_MS * 1.2, over);
    link.toServer(() => {
      const { session } = link;
      const consumer = world.store.events.consumers.get(CONSUMER);
      if (!world.store.up || session === undefined || consumer === undefined) return;
      consumer.pull({
        session,
        batch: this.#config.nodesMax,
        expiresMs: PULL_MS,
        onMessage: (delivered) => this.#host.spawn(this.#handle(delivered)),
        onEnd: over,
      });
    }, "stored");
  }

  async #handle({ message }: Delivered): Promise<void> {
    const { process } = this.#host;
    const event = message.body as NodeEvent;
    const reason = moveReasonOf(event);
    if (reason === undefined) return;
    let isInHand = true;
    process.every(this.#config.ackWaitMs / 3, () => {
      if (isInHand) this.#word((consumer) => consumer.working(message.seq));
      return isInHand;
    });
    try {
      await this.#migrate(event, reason);
      this.#word((consumer) => consumer.ack(message.seq));
    } catch (error) {
      if (!(error instanceof PutOffError)) throw error;
      this.#host.note("puts off", error.message);
      this.#word((consumer) => consumer.nak(message.seq, this.#config.retryAfterMs));
    } finally {
      isInHand = false;
    }
  }

  #word(say: (consumer: Consumer) => void): void {
    const { link, world } = this.#host;
    link.toServer(() => {
      const consumer = world.store.events.consumers.get(CONSUMER);
      if (world.store.up && consumer !== undefined) say(consumer);
    }, "stored");
  }

  async #migrate({ node, incarnation }: NodeEvent, reason: MoveReason): Promise<void> {
    const { process, random } = this.#host;
    let progress = NO_PROGRESS;
    for (;;) {
      const held = await this.#ask<Held>(heldSubject(node), { incarnation });
      const step = planMigration(held, progress);
      if (step.kind === "settled") return;
      if (step.kind === "put-off") throw new PutOffError("the leader keeps naming tasks it moved");
      progress = await this.#moveAll(step.tasks, { from: node, reason }, progress);
      if (progress.idleRounds > 0) {
        await process.clock.sleep(backoffMs(REQUEST_BACKOFF, progress.idleRounds, random));
      }
    }
  }

  async #moveAll(
    tasks: Held["tasks"],
    move: { readonly from: string; readonly reason: MoveReason },
    progress: Progress,
  ): Promise<Progress> {
    const answers: ("moved" | "stale")[] = [];
    const waiting = tasks.values();
    const worker = async (): Promise<void> => {
      for (const { id, attempt } of waiting) {
        answers.push((await this.#ask<MoveAnswer>(moveSubject(id), { ...move, attempt })).answer);
      }
    };
    const count = Math.min(this.#config.movesMax, tasks.length);
    await Promise.all(Array.from({ length: count }, worker));
    return afterRound(progress, answers);
  }

  /** Asks the leader until it answers. */
  async #ask<T>(subject: string, body: unknown): Promise<T> {
    const { process, random, requester } = this.#host;
    const options = { timeoutMs: this.#config.requestTimeoutMs };
    for (let failures = 1; ; failures++) {
      const verdict = judgeReply(answerOf<T>(await requester.request(subject, body, options)));
      if (verdict.kind === "answered") return verdict.value as T;
      if (verdict.kind === "refused") throw new PutOffError(`${subject}: ${verdict.problem}`);
      await process.clock.sleep(backoffMs(REQUEST_BACKOFF, failures, random));
    }
  }
}

/** The reply as the bus package's `ask` reads it. */
function answerOf<T>(reply: Awaited<ReturnType<Host["requester"]["request"]>>): Reply<T> {
  if (reply.kind !== "message") return reply;
  const body = reply.message.json<object>();
  if ("error" in body) return { kind: "refused", error: body.error as WireError };
  return { kind: "ok", value: body as T };
}
