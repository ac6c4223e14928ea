/** One try of a task at work: what its handler sees of it, and what the runner needs to know. */
import {
  endSpan,
  isSampled,
  type Requester,
  type Span,
  SpanKind,
  startSpan,
  traceparentOf,
  withSpan,
} from "@swarm-mesh/bus";
import {
  CHECKPOINTS_BUCKET,
  checkpointKey,
  encode,
  kvSubject,
  looseValue,
} from "@swarm-mesh/protocol";
import type { Clock, Log, LogFields, Random } from "@swarm-mesh/runtime";
import type { Msg } from "nats";
import type { Executor } from "./agents.ts";
import type { Dispatch } from "./dispatch.ts";
import { type AbortCode, AbortedError, type TaskContext, type TaskHandler } from "./handler.ts";
import type { NodeMeters, TryResult } from "./meters.ts";
import { Saver, taskOver } from "./saver.ts";

/** A report of progress beyond it is dropped with a warning. */
const PROGRESS_MAX_BYTES = 64 * 1024;

export interface TaskRunDeps {
  readonly nodeId: string;
  readonly requester: Requester;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly meters: NodeMeters;
}

export class TaskRun implements TaskContext {
  readonly id: string;
  readonly capability: string;
  readonly attempt: number;
  readonly payload: Uint8Array;
  readonly saved: Uint8Array | undefined;
  readonly trace: string | undefined;
  readonly signer: string | undefined;
  readonly agent: Executor;
  readonly startedAtMs: number;
  readonly timeoutAtMs: number;
  /** The newest term that asked for it. */
  epoch: number;
  /** The dispatch that waits for an answer. */
  question: Msg | undefined;
  /** When the handler is given up, once its signal aborted. */
  giveUpAtMs = Number.POSITIVE_INFINITY;
  /** Is what becomes of the handler of no interest any more? */
  reported = false;
  /** Has the handler ended? */
  ended = false;
  readonly #deps: TaskRunDeps;
  /** The try's span, when its trace asks for one. */
  readonly #span: Span | undefined;
  #controller: AbortController | undefined;
  #saver: Saver | undefined;
  #log: Log | undefined;
  #progress: string | undefined;

  constructor(dispatch: Dispatch, agent: Executor, deps: TaskRunDeps, signer?: string) {
    this.id = dispatch.taskId;
    this.capability = dispatch.capability;
    this.attempt = dispatch.attempt;
    this.payload = dispatch.payload;
    this.saved = dispatch.checkpoint;
    this.#span = spanOf(dispatch, agent, deps);
    this.trace = (this.#span && traceparentOf(this.#span)) ?? dispatch.trace;
    this.signer = signer;
    this.epoch = dispatch.epoch;
    this.agent = agent;
    this.#deps = deps;
    this.startedAtMs = deps.clock.elapsed();
    this.timeoutAtMs = this.startedAtMs + dispatch.timeoutMs;
  }

  /** Made when first asked for: most short tasks never look at it. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    return this.#controller.signal;
  }

  get log(): Log {
    this.#log ??= withFields(this.#deps.log, { taskId: this.id, attempt: this.attempt });
    return this.#log;
  }

  /** Why it was aborted, when it was. */
  get abortCode(): AbortCode | undefined {
    const reason: unknown = this.#controller?.signal.reason;
    return reason instanceof AbortedError ? reason.code : undefined;
  }

  savedValue(): unknown {
    return this.saved === undefined ? undefined : looseValue(this.saved);
  }

  progress(value: unknown): void {
    if (this.reported) return;
    try {
      const text = encode(value ?? null);
      if (text.length <= PROGRESS_MAX_BYTES) this.#progress = text;
      else this.log.warn({ bytes: text.length }, "progress dropped, too long");
    } catch (error) {
      this.log.warn({ err: error }, "progress dropped, not JSON");
    }
  }

  async checkpoint(state: unknown): Promise<void> {
    if (this.reported) throw taskOver();
    const { checkpoints } = this.#deps.meters;
    try {
      await this.#openSaver().save(state);
      checkpoints.of("saved").inc();
    } catch (error) {
      checkpoints.of("failed").inc();
      throw error;
    }
  }

  /** The progress not sent yet, as JSON; the next call has none until more is reported. */
  takeProgress(): string | undefined {
    const text = this.#progress;
    this.#progress = undefined;
    return text;
  }

  /** Aborts the handler's signal. A second abort changes nothing. */
  abort(code: AbortCode, message: string, graceMs: number): void {
    this.#controller ??= new AbortController();
    if (this.#controller.signal.aborted) return;
    this.giveUpAtMs = this.#deps.clock.elapsed() + graceMs;
    this.#controller.abort(new AbortedError(code, message, graceMs));
  }

  /** Runs the handler; spans that it begins are children of the try's. */
  invoke(handler: TaskHandler): unknown {
    return this.#span === undefined
      ? handler.run(this)
      : withSpan(this.#span, () => handler.run(this));
  }

  /** Counts the end of the try, and ends its span. To be called once. */
  conclude(result: TryResult): void {
    const { clock, meters } = this.#deps;
    meters.ended(this.capability, result, clock.elapsed() - this.startedAtMs);
    if (this.#span !== undefined) endSpan(this.#span, result === "succeeded" ? undefined : result);
  }

  /** Nothing this try still does counts: no outcome, no progress, no checkpoint. */
  retire(): void {
    this.reported = true;
    this.#saver?.close();
  }

  #openSaver(): Saver {
    const { nodeId, requester, clock, random } = this.#deps;
    this.#saver ??= new Saver({
      requester,
      clock,
      random,
      subject: kvSubject(CHECKPOINTS_BUCKET.name, checkpointKey(nodeId, this.id)),
      attempt: this.attempt,
    });
    return this.#saver;
  }
}

function spanOf(dispatch: Dispatch, agent: Executor, deps: TaskRunDeps): Span | undefined {
  const { trace, taskId, capability, attempt } = dispatch;
  if (trace === undefined || !isSampled(trace)) return undefined;
  return startSpan(`run ${capability}`, {
    kind: SpanKind.CONSUMER,
    parent: trace,
    attributes: {
      "messaging.system": "nats",
      "mesh.task": taskId,
      "mesh.capability": capability,
      "mesh.attempt": attempt,
      "mesh.node": deps.nodeId,
      "mesh.agent": agent.name,
    },
  });
}

function withFields(log: Log, fields: LogFields): Log {
  return {
    debug: (more, message) => log.debug({ ...fields, ...more }, message),
    info: (more, message) => log.info({ ...fields, ...more }, message),
    warn: (more, message) => log.warn({ ...fields, ...more }, message),
    error: (more, message) => log.error({ ...fields, ...more }, message),
  };
}
