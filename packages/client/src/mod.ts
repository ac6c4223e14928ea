export {
  type ConnectClientOptions,
  connectClient,
  MeshClient,
  type MeshClientOptions,
} from "./client.ts";
export {
  MeshClientError,
  type MeshClientErrorCode,
  RefusedRequestError,
  SubmitError,
  TaskFailedError,
  WaitTimeoutError,
} from "./errors.ts";
export type { WaitOptions } from "./following.ts";
export {
  newTaskId,
  type SubmitItem,
  type SubmitOptions,
  type SubmitPayload,
} from "./submission.ts";
export type { SubmitManyOptions, SubmitResult } from "./submit-many.ts";
export type { Submitted } from "./submitter.ts";
