/** A dispatch: how its headers are read, and what the node decides about it. Pure. */
import {
  decodeTasks,
  type ErrorCode,
  Header,
  type HeaderSource,
  isCapability,
  isTaskId,
  parseDuration,
  parseSignature,
  type TaskSignature,
  TIMEOUT_DEFAULT_MS,
} from "@swarm-mesh/protocol";

/** One try of a task, as the coordinator sent it. */
export interface Dispatch {
  readonly taskId: string;
  readonly attempt: number;
  readonly epoch: number;
  readonly incarnation: number;
  readonly capability: string;
  readonly timeoutMs: number;
  /** What an earlier try saved. */
  readonly checkpoint: Uint8Array | undefined;
  readonly trace: string | undefined;
  readonly payload: Uint8Array;
  /** Who says that it may run; a problem when that cannot be read. */
  readonly signature: TaskSignature | { readonly problem: string } | undefined;
  /** `Mesh-Requires` as it was sent; in a batch of signed tasks alone. */
  readonly requires: string;
}

/** Reads a dispatch. A missing or malformed header is a problem that names it. */
export function parseDispatch(
  headers: HeaderSource | undefined,
  payload: Uint8Array,
): Dispatch | { readonly problem: string } {
  if (headers === undefined) return { problem: "the mesh's headers are missing" };
  const taskId = headers.get(Header.taskId);
  if (!isTaskId(taskId)) return problem(Header.taskId, "a task id");
  const attempt = numberOf(headers.get(Header.attempt));
  if (attempt === undefined || attempt === 0) return problem(Header.attempt, "a number from 1");
  const epoch = numberOf(headers.get(Header.epoch));
  if (epoch === undefined) return problem(Header.epoch, "a number");
  const incarnation = numberOf(headers.get(Header.incarnation));
  if (incarnation === undefined) return problem(Header.incarnation, "a number");
  const capability = headers.get(Header.capability);
  if (!isCapability(capability)) return problem(Header.capability, "a capability");
  const timeout = headers.get(Header.timeout);
  const timeoutMs = timeout === "" ? TIMEOUT_DEFAULT_MS : parseDuration(timeout);
  if (timeoutMs === undefined) return problem(Header.timeout, "a duration");
  const saved = headers.get(Header.checkpoint);
  const trace = headers.get(Header.traceparent);
  return {
    taskId,
    attempt,
    epoch,
    incarnation,
    capability,
    timeoutMs,
    checkpoint: saved === "" ? undefined : new Uint8Array(Buffer.from(saved, "base64")),
    trace: trace === "" ? undefined : trace,
    payload,
    signature: signatureOf(headers),
    requires: headers.get(Header.requires),
  };
}

/**
 * Reads a batch: several tasks for one life of this node, in one message. A missing header or a
 * malformed line is a problem of all of them.
 */
export function parseDispatches(
  headers: HeaderSource | undefined,
  body: Uint8Array,
): readonly Dispatch[] | { readonly problem: string } {
  if (headers === undefined) return { problem: "the mesh's headers are missing" };
  const epoch = numberOf(headers.get(Header.epoch));
  if (epoch === undefined) return problem(Header.epoch, "a number");
  const incarnation = numberOf(headers.get(Header.incarnation));
  if (incarnation === undefined) return problem(Header.incarnation, "a number");
  const batch = decodeTasks(body);
  if ("problem" in batch) return batch;
  return batch.tasks.map(({ head, payload }) => ({
    taskId: head.taskId,
    attempt: head.attempt,
    epoch,
    incarnation,
    capability: head.capability,
    timeoutMs: head.timeoutMs,
    checkpoint: undefined,
    trace: head.trace,
    payload,
    signature: head.signed,
    requires: head.signed?.requires ?? "",
  }));
}

function signatureOf(headers: HeaderSource): Dispatch["signature"] {
  const signature = parseSignature(headers);
  if (signature === undefined || !("problem" in signature)) return signature;
  return { problem: `${signature.header}: ${signature.problem}` };
}

function problem(header: string, expected: string): { readonly problem: string } {
  return { problem: `${header} is not ${expected}` };
}

function numberOf(text: string): number | undefined {
  if (!/^\d{1,16}$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** What the node knows that bears on a dispatch. */
export interface DispatchView {
  readonly incarnation: number;
  /** The newest epoch seen. */
  readonly newestEpoch: number;
  /** The try of the task that runs here. */
  readonly runningAttempt: number | undefined;
  /** The try of the task that ended here last. */
  readonly finishedAttempt: number | undefined;
  readonly draining: boolean;
  /** Can the lease not be renewed, as the store does not answer? */
  readonly adrift: boolean;
  /** Are there as many outcomes unacknowledged as may be? */
  readonly outboxFull: boolean;
  /** Who could take it. */
  readonly pick: "agent" | "busy" | "unknown";
}

/** What is done about a dispatch. `supersede`: an older try runs here and must end, whatever else. */
export type DispatchDecision =
  | { readonly kind: "running" }
  | { readonly kind: "finished" }
  | { readonly kind: "start"; readonly supersede: boolean }
  | {
      readonly kind: "refuse";
      readonly code: ErrorCode;
      readonly message: string;
      readonly retryable: boolean;
      readonly supersede: boolean;
    };

/** A task and try that is known is a question, not an order: it is never started twice. */
export function decideDispatch(dispatch: Dispatch, view: DispatchView): DispatchDecision {
  const { attempt, epoch, incarnation } = dispatch;
  if (incarnation !== view.incarnation) {
    return refuse("stale", `meant for incarnation ${incarnation}, this is ${view.incarnation}`);
  }
  if (epoch < view.newestEpoch) {
    return refuse("stale", `epoch ${epoch} is over, ${view.newestEpoch} was seen`);
  }
  if (attempt === view.runningAttempt) return { kind: "running" };
  if (attempt === view.finishedAttempt) return { kind: "finished" };
  const known = Math.max(view.runningAttempt ?? 0, view.finishedAttempt ?? 0);
  if (attempt < known) return refuse("stale", `try ${attempt} is over, ${known} is known here`);
  const supersede = view.runningAttempt !== undefined;
  if (view.draining) return refuse("busy", "the node is draining", supersede);
  if (view.adrift) return refuse("busy", "the store does not answer", supersede);
  if (view.pick === "unknown") {
    return refuse("unknown_capability", `no handler for ${dispatch.capability}`, supersede);
  }
  if (view.outboxFull) return refuse("busy", "too many outcomes wait to be recorded", supersede);
  if (view.pick === "busy") return refuse("busy", "no free slot", supersede);
  return { kind: "start", supersede };
}

function refuse(code: ErrorCode, message: string, supersede = false): DispatchDecision {
  return { kind: "refuse", code, message, retryable: code !== "stale", supersede };
}
