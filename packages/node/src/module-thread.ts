/** One worker thread with a module loaded: runs one task at a time, and can be ended at any time. */
import { Worker } from "node:worker_threads";
import { looseValue } from "@swarm-mesh/protocol";
import { type Clock, type Latch, latch } from "@swarm-mesh/runtime";
import { z } from "zod";
import {
  AbortedError,
  CheckpointError,
  FinalError,
  JsonText,
  RetryableError,
  type TaskContext,
} from "./handler.ts";

/** A module that cannot be run: not there, not JavaScript, or without a function as its default. */
export class ModuleLoadError extends Error {
  override readonly name = "ModuleLoadError";
  readonly code = "module_load";
}

const ENTRY = new URL("../worker/module-worker.js", import.meta.url);

/** What a worker says. It runs code that is not ours, so it is checked like any message. */
const Said = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("ready") }),
  z.object({ kind: z.literal("unloadable"), message: z.string() }),
  z.object({ kind: z.literal("progress"), value: z.unknown() }),
  z.object({ kind: z.literal("checkpoint"), number: z.int(), state: z.unknown() }),
  z.object({
    kind: z.literal("log"),
    level: z.enum(["debug", "info", "warn", "error"]),
    fields: z.record(z.string(), z.unknown()).catch({}),
    message: z.string(),
  }),
  z.object({ kind: z.literal("result"), json: z.string() }),
  z.object({
    kind: z.literal("failed"),
    error: z.object({
      message: z.string(),
      code: z.string().optional(),
      retryable: z.boolean().optional(),
    }),
  }),
]);
type Said = z.infer<typeof Said>;

interface Task {
  readonly context: TaskContext;
  readonly done: Latch<unknown>;
}

export class ModuleThread {
  readonly #file: string;
  readonly #clock: Clock;
  readonly #worker: Worker;
  readonly #ready: Latch<void> = latch();
  #task: Task | undefined;
  #ended = false;

  /** `url` is imported in the thread; `file` is what errors call it. */
  constructor(file: string, url: string, clock: Clock) {
    this.#file = file;
    this.#clock = clock;
    this.#worker = new Worker(ENTRY, { workerData: { url } });
    this.#ready.promise.catch(() => undefined);
    this.#worker.on("message", (message: unknown) => this.#hear(message));
    this.#worker.once("error", (error: unknown) => {
      this.#fail(error instanceof Error ? error.message : String(error));
    });
    this.#worker.once("exit", () => this.#fail("its thread ended before the task did"));
  }

  /** Can it take another task? */
  get ended(): boolean {
    return this.#ended;
  }

  /** Resolves when the module is loaded. Rejects with {@link ModuleLoadError}. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Runs one task; a handler that does not end within the grace of an abort ends with the thread. */
  async run(context: TaskContext): Promise<unknown> {
    const task: Task = { context, done: latch() };
    task.done.promise.catch(() => undefined);
    await this.ready;
    const { signal } = context;
    signal.throwIfAborted();
    if (this.#ended) throw new RetryableError(`${this.#file}: its thread has ended`);
    this.#task = task;
    const onAbort = (): void => void this.#abort(task, signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#worker.postMessage({
      kind: "run",
      id: context.id,
      capability: context.capability,
      attempt: context.attempt,
      payload: context.payload,
      value: context.payload.length === 0 ? undefined : looseValue(context.payload),
      saved: context.saved,
      savedValue: context.savedValue(),
      trace: context.trace,
      signer: context.signer,
    });
    try {
      return await task.done.promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#task = undefined;
    }
  }

  async end(): Promise<void> {
    this.#ended = true;
    await this.#worker.terminate();
  }

  #hear(message: unknown): void {
    const said = Said.safeParse(message);
    if (!said.success) return;
    if (said.data.kind === "ready") this.#ready.resolve();
    else if (said.data.kind === "unloadable") {
      this.#ended = true;
      this.#ready.reject(new ModuleLoadError(`${this.#file}: ${said.data.message}`));
      void this.#worker.terminate();
    } else if (this.#task !== undefined) this.#hearTask(this.#task, said.data);
  }

  #hearTask(task: Task, said: Said): void {
    switch (said.kind) {
      case "progress":
        task.context.progress(said.value);
        return;
      case "checkpoint":
        void this.#save(task, said.number, said.state);
        return;
      case "log":
        task.context.log[said.level](said.fields, said.message);
        return;
      case "result":
        task.done.resolve(new JsonText(said.json));
        return;
      case "failed":
        task.done.reject(failureOf(said.error));
        return;
      case "ready":
      case "unloadable":
        return;
    }
  }

  async #save(task: Task, number: number, state: unknown): Promise<void> {
    try {
      await task.context.checkpoint(state);
      this.#worker.postMessage({ kind: "saved", number });
    } catch (failure) {
      const error =
        failure instanceof CheckpointError
          ? { message: failure.message, code: failure.code, retryable: failure.retryable }
          : { message: String(failure) };
      this.#worker.postMessage({ kind: "saved", number, error });
    }
  }

  async #abort(task: Task, reason: unknown): Promise<void> {
    if (!(reason instanceof AbortedError)) return;
    const { code, message, graceMs } = reason;
    this.#worker.postMessage({ kind: "abort", code, message, graceMs });
    const over = new AbortController();
    const ended = (): void => over.abort();
    task.done.promise.then(ended, ended);
    await this.#clock.sleep(graceMs, over.signal);
    if (over.signal.aborted || this.#task !== task) return;
    task.done.reject(reason);
    await this.end();
  }

  #fail(why: string): void {
    this.#ended = true;
    this.#ready.reject(new ModuleLoadError(`${this.#file}: ${why}`));
    this.#task?.done.reject(new RetryableError(`${this.#file}: ${why}`));
  }
}

function failureOf(error: {
  readonly message: string;
  readonly code?: string | undefined;
  readonly retryable?: boolean | undefined;
}): Error {
  if (error.retryable === undefined) return new RetryableError(error.message);
  const options = error.code === undefined ? {} : { code: error.code };
  return error.retryable
    ? new RetryableError(error.message, options)
    : new FinalError(error.message, options);
}
