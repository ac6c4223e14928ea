/** A process of the dev mesh: started directly, so that its pid is the service's own. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type Latch, latch, systemClock } from "@swarm-mesh/runtime";
import type { ProcessPlan } from "./plan.ts";

const SWARMCTL = join(import.meta.dirname, "..", "..", "bin", "swarmctl.js");

/** After the first signal, until the second one. */
const POLITE_MS = 3_000;
/** After the second signal, until it is killed. */
const IMPATIENT_MS = 2_000;
/** Of what it printed, enough to see why it ended. */
const LAST_LINES = 5;

/** A process of the mesh that this one started: a service or a node. */
export class Child {
  readonly plan: ProcessPlan;
  readonly pid: number;
  /** Resolves with how it ended: `status 1`, `SIGKILL`. */
  readonly ended: Promise<string>;
  readonly #process: ChildProcess;
  readonly #ready: Latch<void> = latch();
  readonly #lastLines: string[] = [];
  #endedAs: string | undefined;

  constructor(plan: ProcessPlan, cwd: string, onLine: (line: string) => void) {
    this.plan = plan;
    this.#process = spawn(process.execPath, [SWARMCTL, ...plan.args], {
      cwd,
      env: { ...plan.env },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      // In a group of its own: Ctrl-C reaches us alone, and we end the processes in order.
      detached: process.platform !== "win32",
    });
    this.pid = this.#process.pid ?? 0;
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on("line", (line) => {
        this.#lastLines.push(line);
        if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift();
        onLine(line);
      });
    }
    this.#process.on("message", (message) => {
      if (message === "ready") this.#ready.resolve();
    });
    this.ended = new Promise<string>((resolve) => {
      this.#process.once("error", (error) => resolve(error.message));
      // "exit", not "close": a handler's program may hold the pipes open for longer.
      this.#process.once("exit", (code, signal) => resolve(signal ?? `status ${code}`));
    }).then((endedAs) => {
      this.#endedAs = endedAs;
      return endedAs;
    });
  }

  get running(): boolean {
    return this.#endedAs === undefined;
  }

  /** Resolves when the process says that it does its work; rejects when it ends before. */
  async ready(): Promise<void> {
    const ended = this.ended.then((endedAs) => {
      const said = this.#lastLines.length === 0 ? "" : `:\n  ${this.#lastLines.join("\n  ")}`;
      throw new Error(`${this.plan.name} ended (${endedAs}) before it was ready${said}`);
    });
    await Promise.race([this.#ready.promise, ended]);
  }

  /** Ends it: politely, then firmly, then by force. Resolves when it is gone. */
  async stop(): Promise<void> {
    for (const [signal, patienceMs] of [
      ["SIGTERM", POLITE_MS],
      ["SIGTERM", IMPATIENT_MS],
    ] as const) {
      if (!this.running) return;
      this.#process.kill(signal);
      const settled = new AbortController();
      await Promise.race([this.ended, systemClock.sleep(patienceMs, settled.signal)]);
      settled.abort();
    }
    this.kill();
    await this.ended;
  }

  kill(): void {
    if (this.running) this.#process.kill("SIGKILL");
  }
}
