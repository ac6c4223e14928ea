/** What the client fails with. `code` is for programs, the message for people. */
import type { TaskRecord, WireError } from "@swarm-mesh/protocol";

/**
 * | code | when |
 * |---|---|
 * | `bad_request` | a task id, option or payload that cannot be sent |
 * | `bad_capability` `bad_header` `payload_too_large` | a submit that the mesh would reject |
 * | `denied` | the server forbids this user the subject |
 * | `refused` | the store will never take the submit, or the mesh refused the request |
 * | `unavailable` | nobody answered until the deadline; a submit may have been stored |
 * | `malformed` | an answer this version cannot read |
 * | `task_failed` | the task ended without a result |
 * | `timeout` | the task did not end in the time given |
 * | `aborted` | the caller's signal aborted |
 * | `closed` | the connection is closed |
 */
export type MeshClientErrorCode =
  | "bad_request"
  | "bad_capability"
  | "bad_header"
  | "payload_too_large"
  | "denied"
  | "refused"
  | "unavailable"
  | "malformed"
  | "task_failed"
  | "timeout"
  | "aborted"
  | "closed";

/** Every error of this package is one. */
export class MeshClientError extends Error {
  override readonly name: string = "MeshClientError";
  readonly code: MeshClientErrorCode;

  constructor(code: MeshClientErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** A submit that failed. With `unavailable` it may have been stored: submit again with the same id. */
export class SubmitError extends MeshClientError {
  override readonly name = "SubmitError";
  /** The id it had, so that a repeat is the same task. */
  readonly taskId: string | undefined;

  constructor(code: MeshClientErrorCode, message: string, taskId?: string) {
    super(code, message);
    this.taskId = taskId;
  }
}

/** A request that the mesh answered with a refusal. */
export class RefusedRequestError extends MeshClientError {
  override readonly name = "RefusedRequestError";
  /** The refusal, as it came: its `code` is one of the protocol's. */
  readonly refusal: WireError;

  constructor(refusal: WireError) {
    super("refused", refusal.message);
    this.refusal = refusal;
  }
}

/** The task ended `failed`, `cancelled` or `rejected`; the record says why. */
export class TaskFailedError extends MeshClientError {
  override readonly name = "TaskFailedError";
  readonly record: TaskRecord;

  constructor(record: TaskRecord) {
    const reason = record.error === null ? "" : `: ${record.error.message} (${record.error.code})`;
    super("task_failed", `task ${record.id} ${record.status}${reason}`);
    this.record = record;
  }
}

/** The task did not end in time. It goes on: wait again. */
export class WaitTimeoutError extends MeshClientError {
  override readonly name = "WaitTimeoutError";
  /** The last record seen; `undefined` while the task waits for a node. */
  readonly record: TaskRecord | undefined;

  constructor(taskId: string, timeoutMs: number, record: TaskRecord | undefined) {
    const state = record === undefined ? "has no record yet" : `is ${record.status}`;
    super("timeout", `task ${taskId} did not end within ${timeoutMs} ms: it ${state}`);
    this.record = record;
  }
}
