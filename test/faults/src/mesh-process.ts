/** A process of the mesh under fault: killed, frozen and started again by its name. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { systemClock } from "@swarm-mesh/runtime";

export interface ProcessPlan {
  /** `n1`, `coordinator-2`, `nats-server`. */
  readonly name: string;
  readonly command: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Where all that it prints goes, of every life. */
  readonly log: string;
  /** Does it say over its channel when it is ready? nats-server does not. */
  readonly channel: boolean;
}

/** A process ended although nobody had killed or stopped it. */
export interface SurprisingEnd {
  readonly name: string;
  readonly pid: number;
  /** `status 1`, `SIGSEGV`. */
  readonly endedAs: string;
  /** Wall clock, milliseconds. */
  readonly at: number;
}

/** A polite stop that takes longer ends in a kill. A node may drain first. */
const STOP_TIMEOUT_MS = 15_000;
/** A process that ended by itself is started again after this long, as an operator's init would. */
const RESTART_AFTER_MS = 1_000;

export class MeshProcess {
  readonly plan: ProcessPlan;
  readonly #onSurprise: (end: SurprisingEnd) => void;
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  /** Its end, if it comes now, was asked for. */
  #expected = false;
  #closed = false;

  constructor(plan: ProcessPlan, onSurprise: (end: SurprisingEnd) => void) {
    this.plan = plan;
    this.#onSurprise = onSurprise;
  }

  get name(): string {
    return this.plan.name;
  }

  /** 0 when it does not run. */
  get pid(): number {
    return this.running ? (this.#child?.pid ?? 0) : 0;
  }

  get running(): boolean {
    const child = this.#child;
    // Without a pid it could not even be started.
    return child?.pid !== undefined && child.exitCode === null && child.signalCode === null;
  }

  /** Starts it; resolves at once. A repeat while it runs does nothing. */
  start(): void {
    if (this.running || this.#closed) return;
    const { command, env, cwd, log, channel } = this.plan;
    const [file = "", ...args] = command;
    const out = openSync(log, "a");
    const child = spawn(file, args, {
      cwd,
      env,
      stdio: channel ? ["ignore", out, out, "ipc"] : ["ignore", out, out],
      // Ctrl-C reaches us alone.
      detached: true,
    });
    closeSync(out);
    this.#child = child;
    this.#expected = false;
    this.#ended = new Promise((resolve) => {
      child.once("error", () => resolve());
      child.once("exit", (code, signal) => {
        resolve();
        if (!this.#expected) this.#surprise(child.pid ?? 0, signal ?? `status ${code}`);
      });
    });
  }

  /** Resolves when it has said that it is ready. Rejects when it ends before. */
  ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      const child = this.#child;
      child?.once("message", () => resolve());
      void this.#ended.then(() => reject(new Error(`${this.name} ended before it was ready`)));
    });
  }

  /** Sends a signal that ends nothing: SIGSTOP, SIGCONT. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child?.kill(signal);
  }

  /** Kills it; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#expected = true;
    this.#child?.kill("SIGKILL");
    await this.#ended;
  }

  /** Ends it politely, by force when that takes too long; resolves when it is gone. */
  async stop(): Promise<void> {
    this.#expected = true;
    this.#child?.kill("SIGTERM");
    const patience = new AbortController();
    await Promise.race([this.#ended, systemClock.sleep(STOP_TIMEOUT_MS, patience.signal)]);
    patience.abort();
    if (this.running) await this.kill();
  }

  /** Kills it for good, frozen or not, without waiting. */
  close(): void {
    this.#closed = true;
    this.#expected = true;
    this.#child?.kill("SIGKILL");
  }

  #surprise(pid: number, endedAs: string): void {
    this.#onSurprise({ name: this.name, pid, endedAs, at: systemClock.now() });
    void systemClock.sleep(RESTART_AFTER_MS).then(() => this.start());
  }
}
