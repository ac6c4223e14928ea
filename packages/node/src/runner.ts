/**
 * The runner: takes dispatches, runs handlers, reports outcomes. It outlives every life of its node.
 *
 *     dispatch ──▶ running ──▶ reported (outcome in the outbox) ──▶ slot free
 *                     │             ▲
 *                     └─ aborted ───┘  by timeout, cancel, drain, a newer try, a lost lease
 *
 * A slot is free when the handler has really ended, not when its outcome was told. One sweep serves
 * every deadline of every task: the late answer to a dispatch, time-outs, graces, progress.
 */
import {
  CancelOrder,
  decode,
  encode,
  progressSubject,
  type WireError,
  wireError,
} from "@swarm-mesh/protocol";
import { BriefMap, Wakeup } from "@swarm-mesh/runtime";
import type { Msg } from "nats";
import { type Dispatch, decideDispatch, parseDispatch, parseDispatches } from "./dispatch.ts";
import type { AbortCode, TaskHandler } from "./handler.ts";
import { Outbox } from "./outbox.ts";
import { decideOutcome, handedBack, type Settled, timedOut } from "./outcome.ts";
import { FINISHED, headersOf, isThenable, RUNNING, respond } from "./reading.ts";
import type { Life, RunnerCounts, RunnerDeps } from "./runner-deps.ts";
import { TaskRun } from "./task-run.ts";

/**
 * A task that ended sooner is answered with `finished`, behind its outcome, instead of `running`.
 * A request is always answered: between accounts the server keeps about 1 KB for each request until its
 * answer has passed, for minutes: 340 MB for 300 000 silent dispatches (measured).
 */
const ANSWER_AFTER_MS = 50;
/** How late a deadline of a task may be noticed. */
const SWEEP_INTERVAL_MS = 25;
/** Progress of one task is sent at most ten times a second. */
const PROGRESS_INTERVAL_MS = 100;

export class Runner {
  readonly counts: RunnerCounts = {
    started: 0,
    ended: 0,
    refused: 0,
    malformed: 0,
    untrusted: 0,
  };
  readonly outbox: Outbox;
  /** Takes nothing new. */
  draining = false;
  readonly #deps: RunnerDeps;
  /** The try of each task whose outcome is still open. */
  readonly #runs = new BriefMap<TaskRun>();
  /** Handlers that were given up but have not ended; each still holds its slot. */
  readonly #lingering = new Set<TaskRun>();
  readonly #wakeup = new Wakeup();
  #settled: (() => void)[] = [];
  #life: Life | undefined;
  #newestEpoch = 0;
  #progressDueAtMs = 0;
  #linkUp = true;

  constructor(deps: RunnerDeps) {
    this.#deps = deps;
    this.outbox = new Outbox({
      ...deps,
      onEmpty: () => this.#changed(),
      onOver: (taskId, attempt) => deps.trust?.ended(taskId, attempt),
    });
  }

  /** Tasks run for `life` from now on. */
  enter(life: Life): void {
    this.#life = life;
  }

  /** Ends every task at once, without an outcome: others may start them. Outcomes already known stay. */
  fence(): void {
    this.#life = undefined;
    for (const run of [...this.#runs.values()]) {
      run.question = undefined;
      this.#abandon(run, "lease_lost", "the node lost its lease", 0);
    }
  }

  setLink(up: boolean): void {
    this.#linkUp = up;
    this.outbox.setLink(up);
    this.#wakeup.ring();
  }

  /** Asks every running task to end; what has not after `graceMs` is handed back. */
  handBack(graceMs: number): void {
    for (const run of this.#runs.values()) run.abort("draining", "the node is draining", graceMs);
    this.#wakeup.ring();
  }

  /** Resolves when no outcome is open, or `signal` aborts. */
  idle(signal: AbortSignal): Promise<void> {
    return this.#until(() => this.#runs.size === 0, signal);
  }

  /** Resolves when every outcome is acknowledged, or `signal` aborts. */
  told(signal: AbortSignal): Promise<void> {
    return this.#until(() => this.outbox.size === 0, signal);
  }

  /** Answers `mesh.node.<node>.task`. A repeat is answered with what is known. */
  onTask(message: Msg): void {
    const dispatch = parseDispatch(headersOf(message), message.data);
    this.#hear(message, "problem" in dispatch ? dispatch : [dispatch]);
  }

  /** Takes `mesh.node.<node>.tasks`: several tasks, which want no answer but their outcomes. */
  onTasks(message: Msg): void {
    this.#hear(message, parseDispatches(headersOf(message), message.data));
  }

  #hear(message: Msg, dispatches: readonly Dispatch[] | { readonly problem: string }): void {
    const life = this.#life;
    const standing = life?.standing() ?? "over";
    const question = message.reply ? message : undefined;
    if (life === undefined || standing === "over") {
      this.#refuse(question, "stale", "this node has lost its lease", false);
      this.fence();
    } else if ("problem" in dispatches) {
      this.counts.malformed++;
      this.#refuse(question, "bad_request", dispatches.problem, false);
    } else if (standing === "granting") {
      for (const dispatch of dispatches) {
        this.#turnDown(dispatch, question, wireError("busy", "the node is still joining", true));
      }
    } else {
      for (const dispatch of dispatches) this.#take(question, dispatch, life);
    }
  }

  /** Says that this node will not run the try. Who did not ask is told by an outcome. */
  #turnDown(dispatch: Dispatch, question: Msg | undefined, error: WireError): void {
    const { taskId, attempt, epoch } = dispatch;
    if (question !== undefined) {
      this.#refuse(question, error.code, error.message, error.retryable);
      return;
    }
    this.counts.refused++;
    // To an older leader nothing is said: whoever has the task now knows better.
    if (error.code === "stale") return;
    // Nor when too much waits to be told: the coordinator asks after what it hears nothing of.
    if (this.outbox.full) return;
    this.outbox.add({ taskId, attempt, epoch, agent: undefined, end: { ok: false, error } });
    this.#wakeup.ring();
  }

  /**
   * Ends a try that nobody trusted has signed, for good: another node would be asked in vain. A try
   * that runs here goes on, since this one may be anybody's.
   */
  #distrust(dispatch: Dispatch, question: Msg | undefined, error: WireError): void {
    const { taskId, attempt, epoch } = dispatch;
    this.counts.untrusted++;
    this.#deps.log.warn(
      { taskId, attempt, code: error.code, problem: error.message },
      "task not trusted",
    );
    this.outbox.add({ taskId, attempt, epoch, agent: undefined, end: { ok: false, error } });
    respond(question, FINISHED);
    this.#wakeup.ring();
  }

  #take(question: Msg | undefined, dispatch: Dispatch, life: Life): void {
    const running = this.#runs.get(dispatch.taskId);
    const pick = this.#deps.agents.pick(dispatch.capability);
    const decision = decideDispatch(dispatch, {
      incarnation: life.incarnation,
      newestEpoch: this.#newestEpoch,
      runningAttempt: running?.attempt,
      finishedAttempt: this.outbox.attemptOf(dispatch.taskId),
      draining: this.draining,
      adrift: life.standing() === "adrift",
      outboxFull: this.outbox.full,
      pick: pick.kind,
    });
    if (dispatch.incarnation === life.incarnation) {
      this.#newestEpoch = Math.max(this.#newestEpoch, dispatch.epoch);
    }
    const verdict = decision.kind === "start" ? this.#deps.trust?.judge(dispatch) : undefined;
    if (verdict?.ok === false) {
      this.#distrust(dispatch, question, verdict.error);
      return;
    }
    const known = decision.kind === "running" || decision.kind === "finished";
    if (running !== undefined && !known && decision.supersede) {
      this.#abandon(running, "superseded", "a newer try was placed here", this.#deps.graceMs);
    }
    switch (decision.kind) {
      case "refuse":
        this.#turnDown(
          dispatch,
          question,
          wireError(decision.code, decision.message, decision.retryable),
        );
        break;
      case "running":
        if (running !== undefined) running.epoch = dispatch.epoch;
        respond(question, RUNNING);
        break;
      case "finished":
        respond(question, FINISHED);
        this.outbox.resend(dispatch.taskId, dispatch.epoch);
        this.#wakeup.ring();
        break;
      case "start":
        if (pick.kind !== "agent") break;
        this.#start(
          new TaskRun(dispatch, pick.agent, this.#deps, verdict?.signer),
          pick.handler,
          question,
        );
        break;
    }
  }

  /** Answers `mesh.node.<node>.cancel`. A repeat finds nothing to cancel and says so. */
  onCancel(message: Msg): void {
    const order = decode(CancelOrder, message.data);
    if (!order.ok) {
      this.#refuse(message, "bad_request", order.problem, false);
      return;
    }
    const { taskId, attempt, epoch, graceMs } = order.value;
    if (epoch < this.#newestEpoch) {
      this.#refuse(message, "stale", `epoch ${epoch} is over`, false);
      return;
    }
    this.#newestEpoch = epoch;
    const run = this.#runs.get(taskId);
    if (run === undefined || run.attempt !== attempt) {
      respond(message, encode({ cancelled: false }));
      return;
    }
    // Remembered as ended, so that a late dispatch of this try does not start it again.
    const error = wireError("cancelled", "the task was cancelled");
    this.outbox.remember({
      taskId,
      attempt,
      epoch,
      agent: run.agent.name,
      end: { ok: false, error },
    });
    this.#abandon(run, "cancelled", "the task was cancelled", graceMs);
    respond(message, encode({ cancelled: true }));
  }

  /** Serves every deadline until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    while (!signal.aborted) {
      this.#wakeup.clear();
      if (this.#life?.standing() === "over") this.fence();
      this.#sweep(clock.elapsed());
      if (this.#runs.size === 0 && this.outbox.size === 0) await this.#wakeup.wait(signal);
      else await clock.sleep(SWEEP_INTERVAL_MS, signal);
    }
    this.outbox.close();
  }

  #start(run: TaskRun, handler: TaskHandler, question: Msg | undefined): void {
    run.question = question;
    this.counts.started++;
    run.agent.running++;
    this.#runs.set(run.id, run);
    this.#wakeup.ring();
    let value: unknown;
    try {
      value = run.invoke(handler);
    } catch (failure) {
      this.#end(run, { ok: false, failure });
      return;
    }
    if (!isThenable(value)) {
      this.#end(run, { ok: true, value });
      return;
    }
    value.then(
      (settled: unknown) => this.#end(run, { ok: true, value: settled }),
      (failure: unknown) => this.#end(run, { ok: false, failure }),
    );
  }

  /** The handler has ended: its slot is free, and its outcome known unless it was given up before. */
  #end(run: TaskRun, settled: Settled): void {
    run.ended = true;
    run.agent.running--;
    this.counts.ended++;
    this.#lingering.delete(run);
    if (run.reported) return;
    // A process that was frozen learns here that its lease is over, before it tells a result.
    if (this.#life?.standing() === "over") {
      this.fence();
      return;
    }
    const outcome = decideOutcome(settled, run.abortCode, this.#deps.messageMaxBytes());
    this.#report(run, outcome);
  }

  #report(run: TaskRun, end: ReturnType<typeof decideOutcome>): void {
    run.conclude(end?.ok === true ? "succeeded" : (run.abortCode ?? "failed"));
    this.#forget(run);
    if (end === undefined) return;
    const progress = run.takeProgress();
    if (progress !== undefined && !end.ok) this.#sendProgress(run, progress);
    this.outbox.add({
      taskId: run.id,
      attempt: run.attempt,
      epoch: run.epoch,
      agent: run.agent.name,
      end,
    });
    respond(run.question, FINISHED);
    run.question = undefined;
  }

  /** Ends a try whose outcome nobody wants; its slot is taken until the handler has ended. */
  #abandon(run: TaskRun, code: AbortCode, message: string, graceMs: number): void {
    respond(run.question, RUNNING);
    run.question = undefined;
    run.conclude(code);
    this.#forget(run);
    run.abort(code, message, graceMs);
  }

  #forget(run: TaskRun): void {
    run.retire();
    if (this.#runs.get(run.id) === run) this.#runs.delete(run.id);
    if (!run.ended) this.#lingering.add(run);
    this.#changed();
  }

  #sweep(nowMs: number): void {
    const withProgress = nowMs >= this.#progressDueAtMs;
    if (withProgress) this.#progressDueAtMs = nowMs + PROGRESS_INTERVAL_MS;
    for (const run of this.#runs.values()) {
      if (run.question !== undefined && nowMs - run.startedAtMs >= ANSWER_AFTER_MS) {
        respond(run.question, RUNNING);
        run.question = undefined;
      }
      if (nowMs >= run.timeoutAtMs)
        run.abort("timeout", "Mesh-Timeout is over", this.#deps.graceMs);
      if (nowMs >= run.giveUpAtMs) {
        this.#report(run, run.abortCode === "draining" ? handedBack() : timedOut());
        continue;
      }
      const progress = withProgress ? run.takeProgress() : undefined;
      if (progress !== undefined) this.#sendProgress(run, progress);
    }
    this.outbox.sweep(nowMs);
  }

  #sendProgress(run: TaskRun, progress: string): void {
    if (!this.#linkUp) return;
    const body = `{"attempt":${run.attempt},"progress":${progress}}`;
    this.#deps.publish(progressSubject(this.#deps.nodeId, run.id), body);
  }

  #refuse(question: Msg | undefined, code: string, message: string, retryable: boolean): void {
    this.counts.refused++;
    respond(question, encode({ error: { code, message, retryable } }));
  }

  #changed(): void {
    for (const look of [...this.#settled]) look();
  }

  #until(condition: () => boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!condition() && !signal.aborted) return;
        this.#settled = this.#settled.filter((other) => other !== look);
        signal.removeEventListener("abort", look);
        resolve();
      };
      this.#settled.push(look);
      signal.addEventListener("abort", look, { once: true });
      look();
    });
  }
}
