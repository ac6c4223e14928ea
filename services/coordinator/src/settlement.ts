/**
 * Brings tasks to their end: outcomes, cancels, rejections, moves that others ask for.
 *
 * The order is always the same: the record, then what must not be lost with it (retry, dead letter),
 * then the acknowledgement, then the answer. A crash between two of them is found by the next
 * leader, which is handed the message again and reads the record.
 */
import { RefusedError, type Requester } from "@swarm-mesh/bus";
import {
  type Backoff,
  type CancelOrder,
  decode,
  encode,
  type Held,
  isFinal,
  type MoveAnswer,
  type MoveRequest,
  nodeSubject,
  Outcome,
  type OutcomeAnswer,
  OutcomeBatch,
  type OutcomeBatchAnswer,
  PROGRESS_MAX_BYTES,
  Progress,
  SUBMIT_OPTIONS_DEFAULT,
  type TaskRecord,
  tokenOf,
  type WireError,
} from "@swarm-mesh/protocol";
import { backoffMs, type Clock, isoTime, type Log, type Random } from "@swarm-mesh/runtime";
import type { Msg } from "nats";
import type { Config } from "./config.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { HeldTask, type TasksInHand } from "./held-task.ts";
import { cancelled, decideOutcome, rejected, unstorable } from "./lifecycle.ts";
import type { CoordinatorMeters, FencedReason } from "./meters.ts";
import { type Records, TermOverError } from "./records.ts";

export interface SettlementOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly meters: CoordinatorMeters;
  readonly requester: Requester;
  readonly records: Records;
  readonly dispatcher: Dispatcher;
  readonly epoch: number;
  readonly tasks: TasksInHand;
  /** Is everything that was in the old leader's hands in ours? */
  readonly settled: () => boolean;
}

/** What became of a cancel. */
export interface Cancelling {
  readonly record: TaskRecord;
  /** Is it this cancel's doing? A repeat, or one that comes too late, changes nothing. */
  readonly changed: boolean;
}

export class Settlement {
  readonly #options: SettlementOptions;

  constructor(options: SettlementOptions) {
    this.#options = options;
  }

  /** Answers `mesh.tasks.outcome.<node>.<task>`. The second identical one is answered the same. */
  async outcome(message: Msg): Promise<OutcomeAnswer> {
    const node = tokenOf(message.subject, 3);
    const taskId = tokenOf(message.subject, 4);
    const decoded = decode(Outcome, message.data);
    if (!decoded.ok) throw new RefusedError("bad_request", `outcome: ${decoded.problem}`);
    return { answer: await this.#answerTo(taskId, node, decoded.value) };
  }

  /** Answers `mesh.tasks.outcomes.<node>`, when the last of them is settled. */
  async outcomes(message: Msg): Promise<OutcomeBatchAnswer> {
    const node = tokenOf(message.subject, 3);
    const decoded = decode(OutcomeBatch, message.data);
    if (!decoded.ok) throw new RefusedError("bad_request", `outcomes: ${decoded.problem}`);
    const answers = await Promise.all(
      decoded.value.map((outcome) =>
        this.#answerTo(outcome.taskId, node, outcome).catch((error: unknown) => {
          if (error instanceof TermOverError) throw error;
          if (!(error instanceof RefusedError)) {
            this.#options.log.error(
              { taskId: outcome.taskId, nodeId: node, err: error },
              "outcome failed",
            );
          }
          return "again" as const;
        }),
      ),
    );
    return { answers };
  }

  async #answerTo(
    taskId: string,
    node: string,
    outcome: Outcome,
  ): Promise<OutcomeAnswer["answer"]> {
    const held = this.#options.tasks.get(taskId);
    const answer =
      held === undefined
        ? await this.#judgeUnheld(taskId, node, outcome)
        : await this.#onTask(held, () => this.#settle(held, node, outcome));
    if (answer === "stale") {
      this.#options.log.info(
        { taskId, nodeId: node, attempt: outcome.attempt },
        "outcome was stale",
      );
    }
    return answer;
  }

  /** Answers `mesh.tasks.cancel.<task>` with the record. A final record is answered as it is. */
  async cancel(taskId: string): Promise<Cancelling> {
    const held = this.#options.tasks.get(taskId);
    if (held !== undefined) {
      const cancelling = await held.exclusive(() => this.#cancelHeld(held));
      if (cancelling !== undefined) return cancelling;
    }
    return this.#cancelUnheld(taskId);
  }

  /** Notes what a node reports; written with the next sweep. */
  progress(message: Msg): void {
    const held = this.#options.tasks.get(tokenOf(message.subject, 4));
    const decoded = decode(Progress, message.data);
    if (held === undefined || !decoded.ok || held.record?.node !== tokenOf(message.subject, 3))
      return;
    if (held.record.attempt !== decoded.value.attempt) return;
    if (message.data.length > PROGRESS_MAX_BYTES) {
      this.#options.log.warn({ taskId: held.id, bytes: message.data.length }, "progress dropped");
      return;
    }
    held.accepted = true;
    held.progress = { value: decoded.value.progress ?? null };
  }

  /** Writes what was noted. */
  async writeProgress(held: HeldTask): Promise<void> {
    const { progress, record } = held;
    held.progress = undefined;
    if (progress === undefined || record === undefined || !held.underWay) return;
    try {
      await this.#options.records.write(held, { ...record, progress: progress.value });
    } catch (error) {
      if (error instanceof TermOverError) throw error;
      this.#options.log.warn({ taskId: held.id, err: error }, "progress not written");
    }
  }

  /** Answers a message that can never run: the record says why, and so does the dead letter. */
  async reject(held: HeldTask, error: WireError): Promise<void> {
    const { records, epoch, log, dispatcher } = this.#options;
    const record = rejected(held, error, { epoch, at: records.now() });
    log.info({ taskId: held.id, code: error.code, problem: error.message }, "task rejected");
    while (!(await records.write(held, record))) {
      // The id is taken: by the same rejection, or by another task that keeps its own record.
      await this.#readAgain(held);
      if (held.record?.status === "rejected") break;
      if (held.record !== undefined) return dispatcher.settle(held);
    }
    await records.bury(held, record);
    dispatcher.settle(held);
  }

  /** Answers `mesh.coordinator.held.<node>`. */
  held(node: string, incarnation: number): Held {
    this.#requireSettled();
    const tasks: { id: string; attempt: number }[] = [];
    for (const held of this.#options.tasks.values()) {
      const { record } = held;
      if (record?.node !== node || record.incarnation !== incarnation) continue;
      if (record.status === "running") tasks.push({ id: held.id, attempt: record.attempt });
    }
    return { tasks };
  }

  /** Answers `mesh.coordinator.move.<task>`. Two who ask for the same move get one. */
  async move(taskId: string, request: MoveRequest): Promise<MoveAnswer> {
    const held = this.#options.tasks.get(taskId);
    if (held === undefined) {
      this.#requireSettled();
      return { answer: this.#stale("moved_before") };
    }
    return this.#onTask(held, async () => {
      const { record } = held;
      const current =
        !held.gone &&
        record?.status === "running" &&
        record.node === request.from &&
        record.attempt === request.attempt;
      if (!current) return { answer: this.#stale("moved_before") };
      await this.#options.dispatcher.move(held, request.reason);
      return { answer: "moved" };
    });
  }

  /** Runs work on a task in hand. What fails half-way goes on when the task's message comes again. */
  async #onTask<T>(held: HeldTask, work: () => Promise<T>): Promise<T> {
    try {
      return await held.exclusive(work);
    } catch (error) {
      if (!(error instanceof RefusedError)) this.#options.dispatcher.setAside(held);
      throw error;
    }
  }

  async #settle(held: HeldTask, node: string, outcome: Outcome): Promise<OutcomeAnswer["answer"]> {
    const { records, dispatcher, epoch } = this.#options;
    for (;;) {
      const { record } = held;
      if (held.gone || record === undefined) return this.#judgeUnheld(held.id, node, outcome);
      if (isFinal(record.status)) {
        // Cancelled, maybe before its message came to hand: nothing more is to be waited for.
        await dispatcher.drop(held);
        return this.#judgeUnheld(held.id, node, outcome);
      }
      const dueAtMs = outcome.ok ? 0 : this.#dueAtMs(held.options.backoff, record);
      const at = records.now();
      const dueAt = outcome.ok ? at : isoTime(dueAtMs);
      const decision = decideOutcome(record, { node, outcome, epoch, at, dueAt });
      if (decision.kind === "stale") return this.#stale("other_try");
      if (decision.kind === "move") {
        if (decision.reason === "refused") {
          this.#options.meters.refusedByNodes.inc();
          await dispatcher.refused(held, node, decision.reason);
        } else await dispatcher.move(held, decision.reason);
        return "recorded";
      }
      const span = held.traced?.recording();
      // The span of a write that lost is not ended, and so not told.
      if (!(await this.#writeOutcome(held, decision.record, node))) {
        await this.#readAgain(held);
        continue;
      }
      if (held.startedAtMs !== undefined) {
        const { clock, meters } = this.#options;
        meters.of(held.capability).run.observeMs(clock.elapsed() - held.startedAtMs);
      }
      const written = held.record ?? decision.record;
      if (span !== undefined) held.traced?.recorded(span, written);
      if (written.status === "retrying") await records.postpone(held, written.attempt + 1, dueAtMs);
      if (written.status === "failed") await records.bury(held, written);
      dispatcher.settle(held);
      return "recorded";
    }
  }

  /** A result the store will not take must not keep the task running for ever. */
  async #writeOutcome(held: HeldTask, record: TaskRecord, node: string): Promise<boolean> {
    const { records, log } = this.#options;
    try {
      return await records.write(held, record);
    } catch (error) {
      if (error instanceof TermOverError) throw error;
      // Too large for the store or for the connection, or nested too deep to be written as JSON.
      log.warn({ taskId: held.id, nodeId: node, err: error }, "outcome refused by the store");
      const problem = error instanceof Error ? error.message : String(error);
      return records.write(held, unstorable(record, problem, records.now()));
    }
  }

  async #readAgain(held: HeldTask): Promise<void> {
    const there = await this.#options.records.read(held.id);
    held.record = there.record;
    held.revision = there.revision;
  }

  /** An outcome for a task that is not in hand: over, or not handed to us yet. */
  async #judgeUnheld(
    taskId: string,
    node: string,
    outcome: Outcome,
  ): Promise<OutcomeAnswer["answer"]> {
    const { record } = await this.#options.records.read(taskId);
    if (record === undefined) return this.#stale("no_record");
    const sameTry = record.node === node && record.attempt === outcome.attempt;
    if (isFinal(record.status)) {
      const same = outcome.ok ? record.status === "succeeded" : record.status === "failed";
      return sameTry && same ? "recorded" : this.#stale("final");
    }
    if (record.status === "retrying") {
      const last = record.tries.at(-1);
      const same = last?.node === node && last.attempt === outcome.attempt;
      return same ? "recorded" : this.#stale("other_try");
    }
    if (!sameTry) return this.#stale("other_try");
    throw new RefusedError(
      "not_leader",
      "the task has not come into this leader's hands yet",
      true,
    );
  }

  async #cancelHeld(held: HeldTask): Promise<Cancelling | undefined> {
    const { records, dispatcher, epoch } = this.#options;
    for (;;) {
      if (held.gone) return undefined;
      const { record } = held;
      if (record !== undefined && isFinal(record.status)) return { record, changed: false };
      const next = cancelled(held, record, { epoch, at: records.now() });
      if (!(await records.write(held, next))) {
        await this.#readAgain(held);
        continue;
      }
      if (record?.status === "running" && record.node !== null) this.#orderCancel(held, record);
      else dispatcher.settle(held);
      return { record: next, changed: true };
    }
  }

  /** Tells the node to stop; its slot is ours again when it has answered. */
  #orderCancel(held: HeldTask, record: TaskRecord): void {
    const { requester, config, epoch, dispatcher } = this.#options;
    const order: CancelOrder = {
      taskId: held.id,
      attempt: record.attempt,
      epoch,
      graceMs: config.cancelGraceMs,
    };
    const subject = nodeSubject(record.node ?? "", "cancel");
    requester.send(subject, encode(order), () => dispatcher.settle(held), { timeoutMs: 1_000 });
  }

  /** No message in hand: over, waiting in the stream, or never submitted. */
  async #cancelUnheld(taskId: string): Promise<Cancelling> {
    const { records, epoch, clock } = this.#options;
    for (;;) {
      const { record, revision } = await records.read(taskId);
      if (record !== undefined && isFinal(record.status)) return { record, changed: false };
      if (record?.status === "running") {
        throw new RefusedError(
          "not_leader",
          "the task has not come into this leader's hands yet",
          true,
        );
      }
      const submission = {
        id: taskId,
        capability: record?.capability ?? "",
        lane: record?.lane ?? "normal",
        options: SUBMIT_OPTIONS_DEFAULT,
        submittedAt: record?.submittedAt ?? records.now(),
        retryAttempt: undefined,
        problem: undefined,
      } as const;
      // Its message may still wait: the final record makes it a no-op when its turn comes.
      const stand = new HeldTask(submission, NO_MESSAGE, clock.elapsed());
      stand.revision = revision;
      const next = cancelled(submission, record, { epoch, at: records.now() });
      if (await records.write(stand, next)) return { record: next, changed: true };
    }
  }

  #stale(reason: FencedReason): "stale" {
    this.#options.meters.fenced(reason);
    return "stale";
  }

  #requireSettled(): void {
    if (this.#options.settled()) return;
    throw new RefusedError("not_leader", "this leader is still taking over", true);
  }

  #dueAtMs(backoff: Backoff, record: TaskRecord): number {
    const { clock, random } = this.#options;
    const waitMs =
      backoff.kind === "fixed"
        ? backoff.delayMs
        : backoffMs(backoff, record.tries.length + 1, random);
    return clock.now() + waitMs;
  }
}

const NO_MESSAGE = {
  subject: "",
  headers: undefined,
  payload: new Uint8Array(),
  stream: "",
  seq: 0,
  storedAtMs: 0,
  ack: "",
  examine: false,
};
