/**
 * The leader's part of a task's trace. All spans belong to the submit's, so that the task is one
 * picture whatever becomes of it:
 *
 *     send ─┬─ queue wait
 *           ├─ try 1 ──── run (the node's)
 *           ├─ migrate
 *           ├─ try 2 ──── run
 *           └─ record
 *
 * A try is told by the leader as well as by its node, because a node that is killed tells nothing.
 * A leader that is killed tells nothing of the try that was under way; the next one begins it anew.
 */
import { endSpan, type Span, SpanKind, startSpan, traceparentOf } from "@swarm-mesh/bus";
import type { TaskRecord } from "@swarm-mesh/protocol";

/** What of a task its spans say. */
export interface TracedTask {
  readonly id: string;
  readonly capability: string;
  readonly precedence: string;
  readonly storedAtMs: number;
}

export class TaskTrace {
  readonly #task: TracedTask;
  readonly #parent: string;
  #queued = false;
  #try: Span | undefined;
  #move: Span | undefined;

  /** `parent`: the `traceparent` of the submit. */
  constructor(task: TracedTask, parent: string) {
    this.#task = task;
    this.#parent = parent;
  }

  /** What a node is given: its spans are children of the try. */
  get traceparent(): string {
    return (this.#try && traceparentOf(this.#try)) ?? this.#parent;
  }

  /** The record says that a node has the next try; `adopted`: it had it before this leader. */
  began(record: TaskRecord, adopted = false): void {
    if (!this.#queued && !adopted) {
      this.#queued = true;
      const { precedence: lane, storedAtMs: atMs } = this.#task;
      endSpan(this.#start("queue wait", { atMs, attributes: { "mesh.lane": lane } }));
    }
    const before = this.#try;
    const attributes = {
      "mesh.attempt": record.attempt,
      "mesh.node": record.node ?? "",
      "mesh.epoch": record.epoch,
      ...(adopted ? { "mesh.adopted": true } : {}),
    };
    this.#try = this.#start("try", { kind: SpanKind.PRODUCER, attributes, follows: before });
    this.#move?.setAttribute("mesh.to", record.node ?? "");
    this.#endMove();
  }

  /** The try is taken from its node. */
  moving(record: TaskRecord, reason: string): void {
    const attributes = { "mesh.from": record.node ?? "", "mesh.reason": reason };
    const move = this.#start("migrate", { attributes, follows: this.#try });
    this.#endMove();
    this.#move = move;
    if (this.#try !== undefined) endSpan(this.#try, reason);
  }

  /** An outcome has come; the span it returns is ended once that is recorded. */
  recording(): Span {
    return this.#start("record", {});
  }

  /** The outcome is recorded, and the try with it. */
  recorded(span: Span, record: TaskRecord): void {
    const problem = record.status === "succeeded" ? undefined : record.error?.code;
    span.setAttribute("mesh.status", record.status);
    endSpan(span);
    if (this.#try !== undefined) endSpan(this.#try, problem);
    this.#try = undefined;
  }

  /** The task leaves this leader's hands; `status`: as what, when its record was written. */
  close(status: string | undefined): void {
    this.#endMove();
    if (this.#try === undefined) return;
    if (status !== undefined) this.#try.setAttribute("mesh.status", status);
    endSpan(this.#try);
    this.#try = undefined;
  }

  #endMove(): void {
    if (this.#move !== undefined) endSpan(this.#move);
    this.#move = undefined;
  }

  #start(name: string, start: Parameters<typeof startSpan>[1]): Span {
    const { id, capability } = this.#task;
    const attributes = { "mesh.task": id, "mesh.capability": capability, ...start.attributes };
    return startSpan(name, { ...start, attributes, parent: this.#parent });
  }
}

/**
 * Begins a trace for a task that came without one, so that it is seen at all. Its `traceparent`;
 * `undefined` when nobody records.
 */
export function beginTrace(task: TracedTask): string | undefined {
  const { id, capability, storedAtMs: atMs } = task;
  const attributes = { "mesh.task": id, "mesh.capability": capability };
  const root = startSpan("task", { atMs, attributes });
  const traceparent = traceparentOf(root);
  endSpan(root);
  return traceparent;
}
