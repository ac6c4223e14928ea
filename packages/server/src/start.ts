/** A nats-server as a child process: started, waited for, told to reload, stopped. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { looseValue } from "@swarm-mesh/protocol";
import { type Clock, systemClock } from "@swarm-mesh/runtime";
import { ServerError } from "./errors.ts";

/** An empty server is ready in 40 ms; one with much data reads it first. */
const READY_TIMEOUT_MS = 30_000;
const READY_POLL_MS = 10;
/** Reading its configuration takes milliseconds, but each user whom nobody can judge 5 s. */
const RELOAD_TIMEOUT_MS = 30_000;
/** Writing out what it holds takes a server well under a second. */
const STOP_TIMEOUT_MS = 10_000;
/** Of what the server logged, enough to see why it gave up. */
const LAST_LINES = 8;

/**
 * Go collects garbage whenever the heap has doubled, which a server of some 50 MB does twice a second
 * under load: a twelfth of its CPU (measured, 5 000 tasks a second). Here it may grow fivefold first,
 * up to a limit above which Go collects as hard as it needs to.
 */
const COLLECT_LESS = { GOGC: "400", GOMEMLIMIT: "2GiB" };

export interface StartOptions {
  /** From `locateNatsServer`: an absolute path, or a name to be looked up on `PATH`. */
  readonly binary: string;
  /** From `prepareServerDir`. */
  readonly conf: string;
  /** Holds the server's data and the file with its ports. */
  readonly dir: string;
  /** Left out: the server chooses a free one. */
  readonly port?: number;
  /** More arguments of nats-server, such as `-m 8222`. */
  readonly args?: readonly string[];
  /** Told each line that the server logs. */
  readonly log?: (line: string) => void;
  readonly clock?: Clock;
}

export interface RunningNatsServer {
  readonly url: string;
  /** Where it takes WebSockets; `undefined`: the configuration has no `websocket` block. */
  readonly websocket: string | undefined;
  readonly pid: number;
  readonly child: ChildProcess;
  /**
   * Has the server read its configuration again; users that were removed are cut off. Resolves when it
   * has: who connects in between may be let in by neither the old nor the new one.
   */
  reload(): Promise<void>;
  /** Stops the server, by force when it has not ended in 10 s. A repeat waits for the same end. */
  stop(): Promise<void>;
}

/**
 * Starts nats-server and resolves when it takes connections. Rejects, with the last lines of its
 * log, when it ends before. It is stopped when this process exits; when this process is killed, it
 * stays.
 */
export async function startNatsServer(options: StartOptions): Promise<RunningNatsServer> {
  const { binary, conf, dir, port = -1, args = [], log, clock = systemClock } = options;
  await mkdir(dir, { recursive: true });
  const child = spawn(
    binary,
    [
      ...["-c", resolve(conf), "-a", "127.0.0.1", "-p", String(port)],
      ...["--ports_file_dir", resolve(dir), ...args],
    ],
    {
      env: { ...COLLECT_LESS, ...process.env },
      // The configuration keeps its data where the server is started; `-sd` beside it is refused.
      cwd: dir,
      stdio: ["ignore", "ignore", "pipe"],
      // In a process group of its own: Ctrl-C reaches us, and we stop the server after its clients.
      detached: process.platform !== "win32",
    },
  );
  const server = new Child(child, clock, log);
  try {
    const addresses = await server.ready(dir);
    return {
      ...addresses,
      pid: child.pid ?? 0,
      child,
      reload: () => server.reload(),
      stop: () => server.stop(),
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** The servers to stop when this process exits: one listener for all of them. */
const running = new Set<ChildProcess>();

function stopAtExit(child: ChildProcess): void {
  if (running.size === 0) process.once("exit", stopAll);
  running.add(child);
}

function stopAll(): void {
  for (const child of running) child.kill("SIGTERM");
}

class Child {
  readonly #child: ChildProcess;
  readonly #clock: Clock;
  readonly #ended: Promise<string>;
  readonly #lastLines: string[] = [];
  readonly #awaited: { readonly pattern: RegExp; readonly settle: (line: string) => void }[] = [];
  #endedAs: string | undefined;

  constructor(child: ChildProcess, clock: Clock, log: ((line: string) => void) | undefined) {
    this.#child = child;
    this.#clock = clock;
    stopAtExit(child);
    this.#ended = new Promise<string>((settle) => {
      child.once("error", (error) => settle(error.message));
      // "close" follows "exit" once the log has been read to its end.
      child.once("close", (code, signal) => settle(`exit ${signal ?? code}`));
    }).then((endedAs) => {
      running.delete(child);
      if (running.size === 0) process.off("exit", stopAll);
      this.#endedAs = endedAs;
      return endedAs;
    });
    if (child.stderr !== null) {
      createInterface({ input: child.stderr }).on("line", (line) => {
        this.#lastLines.push(line);
        if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift();
        const heard = this.#awaited.filter(({ pattern }) => pattern.test(line));
        for (const each of heard) {
          this.#awaited.splice(this.#awaited.indexOf(each), 1);
          each.settle(line);
        }
        log?.(line);
      });
    }
  }

  /** Waits for the file of ports, which the server writes when it listens. Returns its addresses. */
  async ready(dir: string): Promise<Addresses> {
    const deadline = this.#clock.elapsed() + READY_TIMEOUT_MS;
    while (this.#endedAs === undefined && this.#clock.elapsed() < deadline) {
      const addresses = await readPortsFile(dir, this.#child.pid);
      if (addresses !== undefined) return addresses;
      await Promise.race([this.#ended, this.#clock.sleep(READY_POLL_MS)]);
    }
    const reason = this.#endedAs ?? `not ready within ${READY_TIMEOUT_MS} ms`;
    throw new ServerError(
      "server-failed",
      [`nats-server did not start: ${reason}`, ...this.#lastLines].join("\n"),
    );
  }

  async reload(): Promise<void> {
    const done = this.#untilSaid(/Reloaded server configuration|Failed to reload/);
    this.#child.kill("SIGHUP");
    const patience = new AbortController();
    const late = this.#clock.sleep(RELOAD_TIMEOUT_MS, patience.signal).then(() => "nothing");
    const said = await Promise.race([done, this.#ended, late]);
    patience.abort();
    if (!said.includes("Reloaded server configuration")) {
      throw new ServerError("server-failed", `nats-server did not reload: ${said}`);
    }
  }

  #untilSaid(pattern: RegExp): Promise<string> {
    return new Promise((settle) => this.#awaited.push({ pattern, settle }));
  }

  async stop(): Promise<void> {
    if (this.#endedAs !== undefined) return;
    const patience = new AbortController();
    this.#child.kill("SIGTERM");
    await Promise.race([this.#ended, this.#clock.sleep(STOP_TIMEOUT_MS, patience.signal)]);
    patience.abort();
    if (this.#endedAs === undefined) this.#child.kill("SIGKILL");
    await this.#ended;
  }
}

/** `<program>_<pid>.ports`: JSON, the addresses by protocol. Others are of servers that were killed. */
async function readPortsFile(dir: string, pid: number | undefined): Promise<Addresses | undefined> {
  for (const name of await readdir(dir)) {
    if (!name.endsWith(".ports")) continue;
    const path = join(dir, name);
    if (!name.endsWith(`_${pid}.ports`)) {
      await rm(path, { force: true });
      continue;
    }
    // Half written it is no object yet: the next look finds the whole.
    const ports = looseValue(await readFile(path));
    const url = firstUrl(ports, "nats");
    if (url !== undefined) return { url, websocket: firstUrl(ports, "websocket") };
  }
  return undefined;
}

type Addresses = Pick<RunningNatsServer, "url" | "websocket">;

function firstUrl(ports: unknown, protocol: string): string | undefined {
  if (typeof ports !== "object" || ports === null) return undefined;
  const urls: unknown = Reflect.get(ports, protocol);
  const [url]: unknown[] = Array.isArray(urls) ? urls : [];
  return typeof url === "string" ? url : undefined;
}
