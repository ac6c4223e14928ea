/** What a handler is, what it is given, and how it says that it failed. */
import {
  check,
  decode,
  ERROR_MESSAGE_MAX_CHARS,
  looseValue,
  type WireError,
} from "@swarm-mesh/protocol";
import type { Log } from "@swarm-mesh/runtime";
import { z } from "zod";

/** Why a task's signal aborted. */
export type AbortCode = "timeout" | "cancelled" | "lease_lost" | "draining" | "superseded";

/** The reason of an aborted task signal. */
export class AbortedError extends Error {
  override readonly name = "AbortedError";
  readonly code: AbortCode;
  /** How long the handler may still take before it is given up. */
  readonly graceMs: number;

  constructor(code: AbortCode, message: string, graceMs: number) {
    super(message);
    this.code = code;
    this.graceMs = graceMs;
  }
}

/** A failure that trying again cannot cure: the task fails at once, whatever tries it has left. */
export class FinalError extends Error {
  override readonly name = "FinalError";
  readonly retryable = false;
  readonly code: string;

  /** `code`: `[a-z0-9_]{1,64}`, kept in the task's record. */
  constructor(message: string, options: { readonly code?: string; readonly cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.code = options.code ?? "handler_final";
  }
}

/** A failure that may pass, with a code of its own. Any other thrown value is one with `handler_failed`. */
export class RetryableError extends Error {
  override readonly name = "RetryableError";
  readonly retryable = true;
  readonly code: string;

  /** `code`: `[a-z0-9_]{1,64}`, kept in the task's record. */
  constructor(message: string, options: { readonly code?: string; readonly cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.code = options.code ?? "handler_failed";
  }
}

/** A checkpoint that could not be saved; the last one saved before it still stands. */
export class CheckpointError extends Error {
  override readonly name = "CheckpointError";
  readonly code: "payload_too_large" | "refused" | "task_over";
  readonly retryable: boolean;

  constructor(code: "payload_too_large" | "refused" | "task_over", message: string) {
    super(message);
    this.code = code;
    this.retryable = code !== "payload_too_large";
  }
}

/** What a handler is told of its task, and what it can do while it runs. */
export interface TaskContext {
  readonly id: string;
  readonly capability: string;
  /** The try, from 1. */
  readonly attempt: number;
  /** The task's body as it was submitted. */
  readonly payload: Uint8Array;
  /** Aborts when the task must end; its reason is an {@link AbortedError}. */
  readonly signal: AbortSignal;
  /** What an earlier try saved last. */
  readonly saved: Uint8Array | undefined;
  /** {@link saved} as a value: JSON when it parses, else text. */
  savedValue(): unknown;
  /** Tells how far the task is, any JSON value. At most ten a second are sent, the latest wins. */
  progress(value: unknown): void;
  /**
   * Saves state for the next try: bytes and strings as they are, anything else as JSON. Resolves
   * when it is durable, or when a newer one is. Rejects with {@link CheckpointError}.
   */
  checkpoint(state: unknown): Promise<void>;
  readonly log: Log;
  /** The W3C `traceparent` of this try's span when it is recorded here, else of the submit. */
  readonly trace: string | undefined;
  /** Who signed the task, by the name in the file of trusted signers; `undefined`: nobody. */
  readonly signer: string | undefined;
}

/** A handler as a function, run on the node's own event loop: it must not block. */
export type HandlerFunction<Input = unknown, Output = unknown> = (
  input: Input,
  context: TaskContext,
) => Output | Promise<Output>;

/** Is it a handler, and not its options? */
export function isHandler(
  value: HandleOptions | TaskHandler | HandlerFunction,
): value is TaskHandler | HandlerFunction {
  return typeof value === "function" || "run" in value;
}

/** What a handler that holds resources is opened with. */
export interface HandlerScope {
  /** Most tasks it is given at once. */
  readonly slots: number;
  readonly log: Log;
}

/** A handler that holds resources: a program, a module, or one of your own. */
export interface TaskHandler {
  /** Called once before the node joins; a rejection keeps it from joining. */
  open?(scope: HandlerScope): Promise<void>;
  /** Runs one task. Never called more than `slots` times at once. */
  run(context: TaskContext): unknown;
  /** Called once after the last task. */
  close?(): Promise<void>;
}

/** A result that is JSON already. */
export class JsonText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** What is checked of a capability's tasks, and who runs them. */
export interface HandleOptions<
  Input extends z.ZodType = z.ZodType,
  Output extends z.ZodType = z.ZodType,
> {
  /** What the payload must be; without it the handler is given JSON when it parses, else text. */
  readonly input?: Input;
  /** What the result must be. */
  readonly output?: Output;
  /** The agent that runs it. Default: the node's first. */
  readonly agent?: string;
}

/** Makes a {@link TaskHandler} of a function and its schemas. */
export function functionHandler(handle: HandlerFunction, options: HandleOptions): TaskHandler {
  const { input, output } = options;
  return {
    run(context) {
      const value = handle(readInput(input, context.payload), context);
      if (output === undefined) return value;
      return value instanceof Promise
        ? value.then((settled) => checkOutput(output, settled))
        : checkOutput(output, value);
    },
  };
}

function readInput(schema: z.ZodType | undefined, payload: Uint8Array): unknown {
  if (schema === undefined) return payload.length === 0 ? undefined : looseValue(payload);
  const input = payload.length === 0 ? checkEmpty(schema) : decode(schema, payload);
  if (input.ok) return input.value;
  throw new FinalError(`the payload does not match: ${input.problem}`, { code: "invalid_input" });
}

/** An empty body is what a caller without arguments sends: nothing, or `null` where that is expected. */
function checkEmpty(schema: z.ZodType) {
  const nothing = check(schema, undefined);
  if (nothing.ok) return nothing;
  const asNull = check(schema, null);
  return asNull.ok ? asNull : nothing;
}

function checkOutput(schema: z.ZodType, value: unknown): unknown {
  const output = check(schema, value);
  if (output.ok) return output.value;
  throw new FinalError(`the result does not match: ${output.problem}`, { code: "invalid_output" });
}

const ErrorShape = z.object({
  message: z.string(),
  code: z
    .string()
    .regex(/^[a-z0-9_]{1,64}$/)
    .optional()
    .catch(undefined),
  retryable: z.boolean().optional().catch(undefined),
});

/** What a handler threw, as it is reported: retryable unless it says otherwise. */
export function wireErrorOf(failure: unknown): WireError {
  const shape = ErrorShape.safeParse(failure);
  if (!shape.success) {
    return { code: "handler_failed", message: cut(String(failure)), retryable: true };
  }
  const retryable = shape.data.retryable ?? true;
  const code = shape.data.retryable === undefined ? undefined : shape.data.code;
  return {
    code: code ?? (retryable ? "handler_failed" : "handler_final"),
    message: cut(shape.data.message),
    retryable,
  };
}

function cut(text: string): string {
  return text.slice(0, ERROR_MESSAGE_MAX_CHARS);
}
