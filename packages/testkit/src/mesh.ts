import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { Bucket, openConnection, openManager, Requester } from "@swarm-mesh/bus";
import { decode, TASKS_BUCKET, TaskRecord, taskStateSubject } from "@swarm-mesh/protocol";
import type { NatsConnection } from "nats";

/** How a whole mesh for a test is made up. */
export interface MeshOptions {
  /** Nodes n1, n2, …; default 2. */
  readonly nodes?: number;
  readonly slots?: number;
  /** Processes of each service; default 1. */
  readonly replicas?: number;
  /** nats-servers; more than one are a cluster of nats-1, nats-2, …. Default 1. */
  readonly servers?: number;
  /** `capability=command` or `capability=module:file`; default those of `swarmctl dev`. */
  readonly handles?: readonly string[];
  /** Added to the environment of every process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Keeps log lines as the processes wrote them. */
  readonly jsonLogs?: boolean;
  /** Ports for `/metrics`: this one for the first process, the following ones for the others. */
  readonly metricsPort?: number;
  /** With the keys and the store of an earlier mesh, which it goes on with; default an empty one. */
  readonly dir?: string;
}

/** One process of the mesh. */
export interface MeshProcess {
  readonly name: string;
  readonly kind: string;
  readonly pid: number;
}

interface DevFile {
  readonly url: string;
  readonly websocket?: string;
  readonly keys: Readonly<Record<string, string>>;
  readonly processes: readonly MeshProcess[];
}

/** A process that was started after the mesh. */
interface ExtraProcess {
  /** The node's id, or what it is. */
  readonly id: string;
  readonly child: ChildProcess;
  readonly isServer?: boolean;
}

const SWARMCTL = join(import.meta.dirname, "..", "..", "cli", "bin", "swarmctl.js");
const COUNT = join(import.meta.dirname, "..", "..", "cli", "handlers", "count.js");
/** What the nodes of `swarmctl dev` offer when they are not told. */
const HANDLES_DEFAULT = ["echo=cat", "wordcount=wc -w", `count=module:${COUNT}`];
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;
const POLL_MS = 20;
const RELOAD_MS = 250;
const LOG_LINES_MAX = 500;

/**
 * A whole mesh in processes of its own, as `swarmctl dev` runs it, to be killed part by part. It ends with
 * the process that started it, however that ends.
 */
export class Mesh {
  readonly dir: string;
  /** Of all servers, separated by commas. */
  readonly url: string;
  readonly #dev: ChildProcess;
  readonly #file: DevFile;
  readonly #options: MeshOptions;
  readonly #log: string[];
  readonly #extra: ExtraProcess[] = [];
  readonly #connections: NatsConnection[] = [];
  #records: Promise<Bucket> | undefined;

  private constructor(parts: {
    dir: string;
    dev: ChildProcess;
    file: DevFile;
    log: string[];
    options: MeshOptions;
  }) {
    this.dir = parts.dir;
    this.url = parts.file.url;
    this.#dev = parts.dev;
    this.#file = parts.file;
    this.#log = parts.log;
    this.#options = parts.options;
  }

  /** Starts a mesh in a directory of its own and resolves when every node is active. */
  static async start(options: MeshOptions = {}): Promise<Mesh> {
    const dir = options.dir ?? (await mkdtemp(join(tmpdir(), "mesh-dev-")));
    const log: string[] = [];
    const dev = spawn(process.execPath, [SWARMCTL, ...devArgs(dir, options)], {
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    keepLog(dev, log);
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (performance.now() < deadline && dev.exitCode === null && dev.signalCode === null) {
      if (existsSync(join(dir, "dev.json"))) {
        const file = JSON.parse(await readFile(join(dir, "dev.json"), "utf8")) as DevFile;
        return new Mesh({ dir, dev, file, log, options });
      }
      await sleep(POLL_MS);
    }
    dev.kill("SIGTERM");
    await exitOf(dev);
    if (options.dir === undefined) await rm(dir, { recursive: true, force: true });
    throw new Error(`the mesh did not start\n${log.join("\n")}`);
  }

  /** Every process that `swarmctl dev` started, those that are dead by now included. */
  get processes(): readonly MeshProcess[] {
    return this.#file.processes;
  }

  /** What all processes printed, the newest lines. */
  get log(): string {
    return this.#log.join("\n");
  }

  /** Where the seed of a user is. */
  key(user: string): string {
    return this.#file.keys[user] ?? join(this.dir, "keys", `${user}.nk`);
  }

  /** Pids of the processes of a kind that still run, in the order of their names. */
  pids(kind: string): readonly number[] {
    const pids = this.processes.filter((each) => each.kind === kind).map(({ pid }) => pid);
    const extra = kind === "node" ? this.#extra.map(({ child }) => child.pid ?? 0) : [];
    return [...pids, ...extra].filter((pid) => isAlive(pid));
  }

  /** Sends a signal to a process by its name: `n1`, `coordinator-1`, `nats-server`. */
  kill(name: string, signal: NodeJS.Signals = "SIGKILL"): void {
    process.kill(this.pid(name), signal);
  }

  /** The pid of the process with this name; of the newest one when it was started again. */
  pid(name: string): number {
    const extra = this.#extra.findLast(({ id }) => id === name)?.child.pid;
    const pid = extra ?? this.processes.find((each) => each.name === name)?.pid;
    if (pid === undefined) throw new Error(`no process ${name}`);
    return pid;
  }

  /** The addresses of the servers, in the order of their names. */
  get urls(): readonly string[] {
    return this.url.split(",");
  }

  /** Connects as a user of the mesh, to any of `servers`; closed by {@link stop}. */
  async connect(user: string, servers: readonly string[] = this.urls): Promise<NatsConnection> {
    const nc = await openConnection({
      servers,
      seed: Buffer.from((await readFile(this.key(user), "utf8")).trim()),
      name: `test/${user}`,
      inbox: user,
      patient: false,
    });
    this.#connections.push(nc);
    return nc;
  }

  /**
   * Starts a node: a new one, or one again that was killed; at the server `url` when given. Resolves
   * when it has joined.
   */
  async startNode(
    id: string,
    options: { readonly args?: readonly string[]; readonly url?: string } = {},
  ): Promise<number> {
    if (!existsSync(this.key(id))) {
      await this.swarmctl("keys", "add", id, "--dir", this.dir);
      this.kill("nats-server", "SIGHUP");
      // Who connects in the very milliseconds of a reload may wait 20 s for nothing (seen).
      await sleep(RELOAD_MS);
    }
    const { handles = HANDLES_DEFAULT, slots = 4 } = this.#options;
    const child = spawn(
      process.execPath,
      [
        ...[SWARMCTL, "node", "run", "--id", id, "--slots", String(slots), "--stop-with-parent"],
        ...handles.flatMap((handle) => ["--handle", handle]),
        ...(options.args ?? []),
      ],
      {
        env: { ...this.#env(), NATS_URL: options.url ?? this.url, NATS_NKEY: this.key(id) },
        stdio: ["ignore", "pipe", "pipe", "ipc"],
      },
    );
    keepLog(child, this.#log);
    this.#extra.push({ id, child });
    await new Promise<void>((resolve, reject) => {
      child.once("message", () => resolve());
      child.once("exit", () => reject(new Error(`node ${id} ended\n${this.log}`)));
    });
    return child.pid ?? 0;
  }

  /** Starts one more process of a service, as when an operator brings a dead one back. */
  startService(kind: string, env: Readonly<Record<string, string>> = {}): void {
    const child = spawn(process.execPath, [SWARMCTL, "service", kind, "--stop-with-parent"], {
      env: { ...this.#env(), ...env, NATS_URL: this.url, NATS_NKEY: this.key(kind) },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    keepLog(child, this.#log);
    this.#extra.push({ id: `${kind}-again`, child });
  }

  /** Starts a nats-server again, on the port and with the data it had; by another `conf` when given. */
  startServer(name = "nats-server", conf?: string): void {
    const alone = name === "nats-server";
    const usual = join(this.dir, alone ? "dev.conf" : `dev-${name}.conf`);
    const { hostname, port } = new URL(this.urls[0] ?? "");
    const child = spawn(
      process.env["NATS_SERVER"] ?? "nats-server",
      // A server of a cluster has its address in its configuration.
      ["-c", conf ?? usual, ...(alone ? ["-a", hostname, "-p", port] : [])],
      { cwd: alone ? this.dir : join(this.dir, name), stdio: "ignore" },
    );
    this.#extra.push({ id: name, child, isServer: true });
  }

  /** Runs a command of swarmctl against this mesh to its end. */
  async swarmctl(...args: readonly string[]): Promise<{
    readonly status: number;
    readonly stdout: string;
    readonly stderr: string;
  }> {
    const child = spawn(process.execPath, [SWARMCTL, ...args], {
      env: { ...this.#env(), MESH_DIR: this.dir },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [stdout, stderr] = [textOf(child.stdout), textOf(child.stderr)];
    const status = await new Promise<number>((resolve) => {
      child.once("close", (code) => resolve(code ?? -1));
    });
    return { status, stdout: await stdout, stderr: await stderr };
  }

  /** A task's record as the bucket's leader has it. */
  async record(taskId: string): Promise<TaskRecord | undefined> {
    this.#records ??= this.#openRecords();
    const entry = await (await this.#records).read(taskId);
    if (entry?.value === undefined) return undefined;
    const record = decode(TaskRecord, entry.value);
    if (!record.ok) throw new Error(`record of ${taskId}: ${record.problem}`);
    return record.value;
  }

  /** Waits until a task's record is as wanted, woken by each change. */
  async waitFor(
    taskId: string,
    wanted: (record: TaskRecord) => boolean,
    timeoutMs = 30_000,
  ): Promise<TaskRecord> {
    const nc = await this.connect("viewer");
    let wake: () => void = () => undefined;
    nc.subscribe(taskStateSubject(taskId), { callback: () => wake() });
    const deadline = performance.now() + timeoutMs;
    let last: TaskRecord | undefined;
    try {
      while (performance.now() < deadline) {
        const changed = new Promise<void>((resolve) => {
          wake = resolve;
        });
        last = await this.record(taskId);
        if (last !== undefined && wanted(last)) return last;
        // The look is what is correct; the message only brings it forward.
        await Promise.race([changed, sleep(250)]);
      }
    } finally {
      await nc.close();
    }
    throw new Error(`task ${taskId} is ${JSON.stringify(last)} after ${timeoutMs} ms\n${this.log}`);
  }

  /** Ends the mesh. Rejects unless it ended in order and left no process. */
  async stop(): Promise<void> {
    await Promise.all(this.#connections.map((nc) => nc.close()));
    for (const { child, isServer } of this.#extra) if (isServer !== true) child.kill("SIGTERM");
    this.#dev.kill("SIGTERM");
    const status = await exitOf(this.#dev);
    for (const { child } of this.#extra) child.kill("SIGKILL");
    const left = this.processes.filter(({ pid }) => isAlive(pid));
    for (const { pid } of left) process.kill(pid, "SIGKILL");
    await rm(this.dir, { recursive: true, force: true });
    if (status === "0" && left.length === 0) return;
    const names = left.map(({ name }) => name).join(", ");
    throw new Error(`swarmctl dev ended with ${status}, left: ${names || "nobody"}\n${this.log}`);
  }

  async #openRecords(): Promise<Bucket> {
    const nc = await this.connect("admin");
    const requester = new Requester(nc, { inboxPrefix: "_INBOX_admin" });
    return new Bucket(TASKS_BUCKET, await openManager(nc), requester);
  }

  /** Without what would point a command elsewhere. */
  #env(): NodeJS.ProcessEnv {
    const { NATS_URL: _u, NATS_NKEY: _k, NATS_CONTEXT: _c, ...env } = process.env;
    return { ...env, ...this.#options.env };
  }
}

function devArgs(dir: string, options: MeshOptions): string[] {
  const {
    nodes = 2,
    slots = 4,
    replicas = 1,
    servers = 1,
    handles = [],
    metricsPort = 0,
  } = options;
  return [
    ...["dev", "--stop-with-parent", ...(options.dir === undefined ? [] : ["--keep"])],
    ...["--port", "0", "--dir", dir, "--nodes", String(nodes), "--slots", String(slots)],
    ...["--replicas", String(replicas), "--metrics-port", String(metricsPort)],
    ...(options.jsonLogs === true ? ["--json-logs"] : []),
    ...["--servers", String(servers)],
    ...handles.flatMap((handle) => ["--handle", handle]),
  ];
}

function keepLog(child: ChildProcess, log: string[]): void {
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream }).on("line", (line) => {
      log.push(line);
      if (log.length > LOG_LINES_MAX) log.shift();
    });
  }
}

async function textOf(stream: NodeJS.ReadableStream | null): Promise<string> {
  let text = "";
  for await (const chunk of stream ?? []) text += String(chunk);
  return text;
}

/** The status or signal a process ended with; it is killed when that takes too long. */
async function exitOf(child: ChildProcess): Promise<string> {
  const ended = (): string | undefined => child.signalCode ?? child.exitCode?.toString();
  const deadline = performance.now() + STOP_TIMEOUT_MS;
  while (ended() === undefined && performance.now() < deadline) await sleep(POLL_MS);
  if (ended() === undefined) child.kill("SIGKILL");
  return ended() ?? "a kill, after it did not stop";
}

/** Is there such a process? */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // No such process.
    return false;
  }
}
