export { type AgentOptions, SetupError } from "./agents.ts";
export {
  type AbortCode,
  AbortedError,
  CheckpointError,
  FinalError,
  type HandleOptions,
  type HandlerFunction,
  type HandlerScope,
  JsonText,
  RetryableError,
  type TaskContext,
  type TaskHandler,
} from "./handler.ts";
export { parseHandlerFlag } from "./handler-flag.ts";
export { JoinRefusedError } from "./join.ts";
export { ModuleLoadError, moduleHandler } from "./module-handler.ts";
export { MeshNode } from "./node.ts";
export type { DrainOptions, MeshNodeOptions, NodePhase } from "./node-options.ts";
export { type ProgramOptions, programHandler } from "./program.ts";
export type { RunnerCounts } from "./runner-deps.ts";
export {
  parseSigners,
  type Signers,
  SignersFileError,
  type TrustedSigner,
} from "./signers-file.ts";
export type { TrustCounts, TrustOptions } from "./trust.ts";
