/**
 * Any program as a handler: payload on its stdin, result on its stdout.
 *
 * | how it ends | outcome |
 * |---|---|
 * | status 0 | stdout is the result: JSON if it parses, else text without the last newline |
 * | status 75 (`EX_TEMPFAIL`) | `handler_failed`, tried again |
 * | another status | `handler_final`; the end of stderr is the message |
 * | a signal that is not ours | `handler_failed`, tried again |
 * | stdout above 1 MB | killed, `payload_too_large` |
 *
 * When the task is aborted its whole process group is asked to end, and killed after the grace; on
 * a lost lease it is killed at once, because another node may start the task.
 */
import type { ChildProcess } from "node:child_process";
import { looseValue, RESULT_MAX_BYTES } from "@swarm-mesh/protocol";
import { type Clock, latch, systemClock } from "@swarm-mesh/runtime";
import { CheckpointFile } from "./checkpoint-file.ts";
import {
  AbortedError,
  FinalError,
  RetryableError,
  type TaskContext,
  type TaskHandler,
} from "./handler.ts";
import { endGroup, killGroup, spawnGroup } from "./process-group.ts";

/** How a program is run. */
export interface ProgramOptions {
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** How long the program may take to end after `SIGTERM`. Default 2 s, never more than the task's. */
  readonly graceMs?: number;
  readonly clock?: Clock;
}

/** The status by which a program says that trying again may help (`EX_TEMPFAIL`). */
const STATUS_RETRY = 75;
/** The end of stderr that becomes the error's message. */
const STDERR_TAIL_BYTES = 2_048;
const GRACE_MS = 2_000;

/** How a program ended. */
interface Exit {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly tooLarge: boolean;
}

/** Makes a handler of a shell command. */
export function programHandler(command: string, options: ProgramOptions = {}): TaskHandler {
  return { run: (context) => runProgram(command, options, context) };
}

async function runProgram(
  command: string,
  options: ProgramOptions,
  context: TaskContext,
): Promise<unknown> {
  const clock = options.clock ?? systemClock;
  const over = new AbortController();
  const file = await CheckpointFile.open(context);
  try {
    context.signal.throwIfAborted();
    const child = spawnGroup(command, environment(options, context, file.path));
    const stopKilling = killOnAbort(child, context.signal, options.graceMs ?? GRACE_MS, clock);
    const following = file.follow(clock, over.signal);
    try {
      return resultOf(await exitOf(child, context.payload), context.signal);
    } finally {
      stopKilling();
      over.abort();
      await following;
      await file.save();
    }
  } finally {
    await file.remove();
  }
}

function environment(
  options: ProgramOptions,
  context: TaskContext,
  checkpointPath: string,
): NodeJS.ProcessEnv {
  return {
    ...process.env,
    ...options.env,
    MESH_TASK_ID: context.id,
    MESH_ATTEMPT: String(context.attempt),
    MESH_CAPABILITY: context.capability,
    MESH_CHECKPOINT: checkpointPath,
    ...(context.trace === undefined ? {} : { TRACEPARENT: context.trace }),
    // Empty when nobody signed it, so that none is inherited.
    MESH_SIGNER: context.signer ?? "",
  };
}

/** Feeds the program and collects what it says, until its leader has exited. */
function exitOf(child: ChildProcess, payload: Uint8Array): Promise<Exit> {
  const { promise, resolve, reject } = latch<Exit>();
  const stdout: Buffer[] = [];
  let stdoutBytes = 0;
  let stderr: Buffer = Buffer.alloc(0);
  child.stdout?.on("data", (chunk: Buffer) => {
    stdoutBytes += chunk.length;
    if (stdoutBytes <= RESULT_MAX_BYTES) stdout.push(chunk);
    else killGroup(child, "SIGKILL");
  });
  child.stderr?.on("data", (chunk: Buffer) => {
    stderr = Buffer.concat([stderr, chunk]).subarray(-STDERR_TAIL_BYTES);
  });
  // A program that does not read its input closes the pipe: that is its right.
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(payload);
  // When the leader is gone so is the task: what it left behind would hold its pipes open.
  child.once("exit", () => endGroup(child));
  child.once("close", (status, signal) => {
    const tooLarge = stdoutBytes > RESULT_MAX_BYTES;
    resolve({
      status,
      signal,
      stdout: Buffer.concat(stdout),
      stderr: stderr.toString().trim(),
      tooLarge,
    });
  });
  child.once("error", (error) => {
    endGroup(child);
    reject(new RetryableError(`the program could not be started: ${error.message}`));
  });
  return promise;
}

function resultOf(exit: Exit, signal: AbortSignal): unknown {
  const { status, stderr } = exit;
  if (exit.tooLarge) {
    const message = `the program wrote more than ${RESULT_MAX_BYTES} bytes to stdout`;
    throw new FinalError(message, { code: "payload_too_large" });
  }
  if (status === 0) {
    const value = looseValue(exit.stdout);
    return typeof value === "string" ? value.replace(/\r?\n$/, "") : value;
  }
  signal.throwIfAborted();
  if (status === null) {
    throw new RetryableError(`killed by ${exit.signal}${stderr === "" ? "" : `: ${stderr}`}`);
  }
  const message = stderr === "" ? `exited with status ${status}` : stderr;
  throw status === STATUS_RETRY ? new RetryableError(message) : new FinalError(message);
}

/** Ends the group when the task is aborted: with a grace to save, or at once when the lease is lost. */
function killOnAbort(
  child: ChildProcess,
  signal: AbortSignal,
  graceMs: number,
  clock: Clock,
): () => void {
  const done = new AbortController();
  const kill = async (): Promise<void> => {
    const reason: unknown = signal.reason;
    const allowedMs = reason instanceof AbortedError ? Math.min(graceMs, reason.graceMs) : graceMs;
    if (allowedMs > 0) {
      killGroup(child, "SIGTERM");
      await clock.sleep(allowedMs, done.signal);
    }
    if (!done.signal.aborted) killGroup(child, "SIGKILL");
  };
  const onAbort = (): void => void kill();
  signal.addEventListener("abort", onAbort, { once: true });
  return () => {
    signal.removeEventListener("abort", onAbort);
    done.abort();
  };
}
