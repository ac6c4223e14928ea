/**
 * Watches over tasks that nodes have: renews their messages, asks after what was not acknowledged,
 * moves what has had no living node for too long.
 */
import type { Config } from "./config.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { Fleet } from "./fleet.ts";
import type { HeldTask, TasksInHand } from "./held-task.ts";
import { ACK_WAIT_MS } from "./lane-consumers.ts";
import type { Records } from "./records.ts";
import type { Settlement } from "./settlement.ts";

/** Held messages are shown to be alive in each third of the ack-wait. */
const RENEW_AFTER_MS = ACK_WAIT_MS / 3;
/** A try this much over its limit without a word is asked for. */
const OVERDUE_MS = 60_000;
/** Questions to nodes in one sweep; further ones wait for the next, so that thousands do not hold up other tasks. */
const QUESTIONS_MAX = 500;

export interface VigilOptions {
  readonly config: Config;
  readonly fleet: Fleet;
  readonly records: Records;
  readonly dispatcher: Dispatcher;
  readonly settlement: Settlement;
  readonly tasks: TasksInHand;
  /** Runs work on a task that nobody waits for; when it fails the task is set aside. */
  readonly spawn: (held: HeldTask, work: Promise<unknown>) => void;
}

export class Vigil {
  readonly #options: VigilOptions;
  /** Questions of this sweep. */
  #questions = 0;

  constructor(options: VigilOptions) {
    this.#options = options;
  }

  /** Does what is due for each task; `now` is monotonic. Call it now and then. */
  sweep(now: number): void {
    this.#questions = 0;
    for (const held of this.#options.tasks.values()) this.#lookAt(held, now);
  }

  #lookAt(held: HeldTask, now: number): void {
    const { config, fleet, records, dispatcher, settlement, spawn } = this.#options;
    if (now - held.renewedAtMs > RENEW_AFTER_MS) {
      held.renewedAtMs = now;
      records.renew(held);
    }
    const { record } = held;
    if (held.phase !== "running" || record === undefined || record.node === null) return;
    if (held.progress !== undefined) {
      spawn(
        held,
        held.exclusive(() => settlement.writeProgress(held)),
      );
    }
    if (!fleet.isGone(record.node, record.incarnation ?? 0)) {
      held.orphanSinceMs = undefined;
      const silentMs = now - held.sentAtMs;
      const patienceMs = held.accepted
        ? held.options.timeoutMs + OVERDUE_MS
        : config.acceptTimeoutMs;
      if (silentMs > patienceMs && this.#questions++ < QUESTIONS_MAX) {
        spawn(
          held,
          held.exclusive(() => dispatcher.question(held)),
        );
      }
      return;
    }
    held.orphanSinceMs ??= now;
    if (now - held.orphanSinceMs < config.orphanAfterMs) return;
    spawn(
      held,
      held.exclusive(async () => {
        if (held.orphanSinceMs !== undefined) await dispatcher.move(held, "node_failed");
      }),
    );
  }
}
