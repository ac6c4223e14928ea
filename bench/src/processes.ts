/** Processes of the bench: workers that are told what to do, servers, and the end of all of them. */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { latch, systemClock } from "@swarm-mesh/runtime";
import type { WorkerAnswer, WorkerCall, WorkerEvent } from "./workers/serve.ts";

/** The longest that one call to a worker may take, whatever it does. */
const CALL_MAX_MS = 120_000;
/** A worker or server that was told to end has this long; then it is killed. */
const STOP_MAX_MS = 4_000;
/** Of what a process printed, enough to see why it ended. */
const LAST_OUTPUT_CHARS = 2_000;

/** Stops all, even when some do not stop as they should; rejects with the first failure then. */
export async function stopAll(parts: readonly { stop(): Promise<void> }[]): Promise<void> {
  const results = await Promise.allSettled(parts.map((part) => part.stop()));
  const failure = results.find((result) => result.status === "rejected");
  if (failure !== undefined) throw failure.reason;
}

/** Runs `work`, then `stop`, whatever happens; of two failures that of the work is thrown. */
export async function stopAfter<T>(work: () => Promise<T>, stop: () => Promise<void>): Promise<T> {
  let result: T;
  try {
    result = await work();
  } catch (error) {
    await stop().catch(() => undefined);
    throw error;
  }
  await stop();
  return result;
}

/** What was started and must be ended, in reverse order. */
export class Scope {
  readonly #releases: (() => Promise<void>)[] = [];

  add(release: () => Promise<void>): void {
    this.#releases.push(release);
  }

  /** A directory of its own, gone with the scope. */
  async directory(name: string): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), `mesh-bench-${name}-`));
    this.add(() => rm(path, { recursive: true, force: true, maxRetries: 5 }));
    return path;
  }

  /** Ends everything, even when some of it fails to; rejects with the first failure. */
  async close(): Promise<void> {
    let failure: unknown;
    for (let release = this.#releases.pop(); release; release = this.#releases.pop()) {
      await release().catch((error: unknown) => {
        failure ??= error;
      });
    }
    if (failure !== undefined) throw failure;
  }
}

/** Killed when this process ends before it has stopped them: one listener for all. */
const alive = new Set<ChildProcess>();

function killAtExit(child: ChildProcess): void {
  if (process.listenerCount("exit", killAlive) === 0) process.once("exit", killAlive);
  alive.add(child);
}

function killAlive(): void {
  for (const child of alive) child.kill("SIGKILL");
}

/** A child process that this one ends, also when it ends itself in a hurry. */
class Owned {
  readonly child: ChildProcess;
  readonly ended: Promise<string>;
  #endedAs: string | undefined;
  #output = "";

  constructor(child: ChildProcess) {
    this.child = child;
    killAtExit(child);
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.#output = (this.#output + chunk.toString()).slice(-LAST_OUTPUT_CHARS);
      });
    }
    this.ended = new Promise<string>((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) => resolve(signal ?? `status ${code}`));
    }).then((endedAs) => {
      alive.delete(child);
      this.#endedAs = endedAs;
      return endedAs;
    });
  }

  get running(): boolean {
    return this.#endedAs === undefined;
  }

  get output(): string {
    return this.#output.trim();
  }

  /** Waits for the end that `ask` brings about, and brings it about itself when that takes long. */
  async end(ask: () => void): Promise<void> {
    if (!this.running) return;
    ask();
    const settled = new AbortController();
    await Promise.race([this.ended, systemClock.sleep(STOP_MAX_MS, settled.signal)]);
    settled.abort();
    this.child.kill("SIGKILL");
    await this.ended;
  }
}

/** A process that runs one of `workers/*.ts` and does what it is told, call by call. */
export class WorkerProcess {
  readonly name: string;
  readonly pid: number;
  /** Called with what the worker tells unasked. */
  onEvent: (event: string) => void = () => undefined;
  readonly #owned: Owned;
  readonly #signal: AbortSignal;
  readonly #pending = new Map<number, (answer: WorkerAnswer) => void>();
  #serial = 0;

  private constructor(name: string, child: ChildProcess, signal: AbortSignal) {
    this.name = name;
    this.pid = child.pid ?? 0;
    this.#owned = new Owned(child);
    this.#signal = signal;
    child.on("message", (message) => {
      const answer = message as WorkerAnswer | WorkerEvent;
      if ("event" in answer) return this.onEvent(answer.event);
      this.#pending.get(answer.id)?.(answer);
      this.#pending.delete(answer.id);
    });
  }

  /**
   * Starts `workers/<file>.js` and opens it with `setup`. Rejects when it cannot be opened. Once
   * `signal` aborts, every call rejects.
   */
  static async start(
    file: string,
    options: { readonly name?: string; readonly setup: unknown; readonly signal: AbortSignal },
  ): Promise<WorkerProcess> {
    const { name = file, setup, signal } = options;
    signal.throwIfAborted();
    const child = fork(join(import.meta.dirname, "workers", `${file}.js`), [], {
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      execArgv: [],
      env: { ...process.env, NODE_ENV: "production" },
    });
    const worker = new WorkerProcess(name, child, signal);
    try {
      await worker.call("open", setup);
    } catch (error) {
      await worker.stop();
      throw error;
    }
    return worker;
  }

  /** Has the worker do something. Rejects when it fails, ends, or the bench is stopped. */
  async call<T>(method: string, argument: unknown = null): Promise<T> {
    const id = ++this.#serial;
    const settled = latch<WorkerAnswer>();
    this.#pending.set(id, settled.resolve);
    const over = new AbortController();
    const either = AbortSignal.any([this.#signal, over.signal]);
    const call: WorkerCall = { id, method, argument };
    this.#owned.child.send(call, () => undefined);
    try {
      const answer = await Promise.race([
        settled.promise,
        this.#owned.ended,
        systemClock.sleep(CALL_MAX_MS, either).then(() => "no answer"),
      ]);
      this.#signal.throwIfAborted();
      if (typeof answer === "string") {
        throw new Error(`${this.name}: ${method}: ${answer}\n${this.#owned.output}`.trim());
      }
      if (!answer.ok) throw new Error(`${this.name}: ${answer.message}`);
      return answer.value as T;
    } finally {
      over.abort();
      this.#pending.delete(id);
    }
  }

  /** Kills or freezes the process. */
  kill(signal: "SIGKILL" | "SIGSTOP"): void {
    this.#owned.child.kill(signal);
  }

  async stop(): Promise<void> {
    await this.#owned.end(() => {
      if (this.#owned.child.connected) this.#owned.child.disconnect();
    });
  }
}

/** A server program that is not ours. */
export interface ServerProcess {
  readonly pid: number;
  stop(): Promise<void>;
}

/** Starts a server; resolves once `isReady` says so. Rejects when it ends before. */
export async function startServer(
  command: string,
  args: readonly string[],
  options: { readonly cwd: string; readonly isReady: () => Promise<boolean> },
): Promise<ServerProcess> {
  const child = spawn(command, [...args], { cwd: options.cwd, stdio: ["ignore", "pipe", "pipe"] });
  const owned = new Owned(child);
  const stop = (): Promise<void> => owned.end(() => child.kill("SIGTERM"));
  const deadline = systemClock.elapsed() + STOP_MAX_MS;
  while (owned.running && systemClock.elapsed() < deadline) {
    if (await options.isReady()) return { pid: child.pid ?? 0, stop };
    await systemClock.sleep(10);
  }
  await stop();
  throw new Error(`${command} did not start: ${await owned.ended}\n${owned.output}`);
}

/** Below the ports that systems give out by themselves, so that nobody is given it meanwhile. */
const PORT_FIRST = 21_000;
const PORT_LAST = 31_000;

let nextPort = PORT_FIRST;

/** A port that nobody listens on, another one every time. */
export async function freePort(): Promise<number> {
  while (nextPort < PORT_LAST) {
    const port = nextPort++;
    const probe = createServer();
    const free = await new Promise<boolean>((resolve) => {
      probe.once("error", () => resolve(false));
      probe.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!free) continue;
    await new Promise((resolve) => probe.close(resolve));
    return port;
  }
  throw new Error(`no free port from ${PORT_FIRST} to ${PORT_LAST}`);
}

/** Does a process with this pid run? One that ended and was not waited for does not. */
export function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    // No such process.
    return false;
  }
}
