/** Submits on subjects that are no capability and lane. No consumer fetches them: they are looked for. */
import type { JetStreamManager } from "@nats-io/jetstream";
import { sentHeaders } from "@swarm-mesh/bus";
import { isCapability, Lane, MESH_TASKS, SUBMIT_ALL } from "@swarm-mesh/protocol";
import type { Clock, Log } from "@swarm-mesh/runtime";
import { type Delivery, HeldTask, parseTask, type TasksInHand } from "./held-task.ts";
import type { Settlement } from "./settlement.ts";

/** Submits answered in one look; the rest is for the next. */
const ANSWERED_MAX = 100;

export interface StraysOptions {
  readonly manager: JetStreamManager;
  readonly clock: Clock;
  readonly log: Log;
  readonly settlement: Settlement;
  readonly tasks: TasksInHand;
  readonly signal: AbortSignal;
}

export class Strays {
  readonly #options: StraysOptions;
  #looking = false;

  constructor(options: StraysOptions) {
    this.#options = options;
  }

  /** Rejects what is there. Never rejects itself: what fails is tried again by the next look. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const { manager, log, signal } = this.#options;
    try {
      const info = await manager.streams.info(MESH_TASKS.name, { subjects_filter: SUBMIT_ALL });
      const strays = Object.keys(info.state.subjects ?? {}).filter((one) => !isSubmit(one));
      let left = ANSWERED_MAX;
      for (const subject of strays) {
        while (left-- > 0 && !signal.aborted && (await this.#answer(subject)));
      }
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error }, "stray submits not answered");
    } finally {
      this.#looking = false;
    }
  }

  /** Answers the newest submit on the subject; `false` when there is none to answer. */
  async #answer(subject: string): Promise<boolean> {
    const { manager, clock, settlement, tasks } = this.#options;
    const message = await manager.streams.getMessage(MESH_TASKS.name, { last_by_subj: subject });
    if (message === null) return false;
    const delivery: Delivery = {
      subject,
      headers: sentHeaders(() => message.header),
      payload: message.data,
      stream: MESH_TASKS.name,
      seq: message.seq,
      storedAtMs: message.time.getTime(),
      ack: "",
      examine: false,
    };
    const parsed = parseTask(delivery);
    if (parsed.problem === undefined || tasks.get(parsed.id) !== undefined) return false;
    const held = new HeldTask(parsed, delivery, clock.elapsed());
    await settlement.reject(held, parsed.problem);
    await manager.streams.deleteMessage(MESH_TASKS.name, message.seq, false);
    return true;
  }
}

function isSubmit(subject: string): boolean {
  const tokens = subject.split(".");
  const lane = tokens[4] === undefined || Lane.safeParse(tokens[4]).success;
  return tokens.length <= 5 && lane && isCapability(tokens[3] ?? "");
}
