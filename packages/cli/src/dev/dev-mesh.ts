/**
 * A mesh in processes of this machine: nats-servers, services, nodes.
 *
 * It owns every process it started. `start` either gets all of them ready or ends those it started;
 * `stop` ends them in order: nodes hand back while there are services, services let go of their
 * leases while there are servers.
 */
import { connectClient } from "@swarm-mesh/client";
import { systemClock } from "@swarm-mesh/runtime";
import { readSeed, seedPath } from "@swarm-mesh/server";
import { CliError, Exit } from "../exit.ts";
import type { Io } from "../io.ts";
import { Child } from "./child.ts";
import { type DevFile, removeDevFile, SERVER_KIND, writeDevFile } from "./dev-file.ts";
import { DevServers } from "./dev-servers.ts";
import type { LinePrinter } from "./log-lines.ts";
import { type DevOptions, planProcesses } from "./plan.ts";

/** From the server's start until every node is active. A busy machine starts a process in seconds. */
const READY_TIMEOUT_MS = 60_000;
const NODES_POLL_MS = 25;

/** The process that `dev` itself is, in its own log. */
export const OWN_NAME = "dev";

/** What a dev mesh needs of the command that runs it. */
export interface DevMeshDeps {
  readonly io: Pick<Io, "env" | "cwd">;
  readonly printer: LinePrinter;
  /** For what `dev` itself has to say. */
  readonly say: (text: string) => void;
  /** Aborts: give up starting. */
  readonly signal: AbortSignal;
}

/** All processes of a dev mesh, servers first and last. */
export class DevMesh {
  readonly #options: DevOptions;
  readonly #deps: DevMeshDeps;
  readonly #children: Child[] = [];
  readonly #servers: DevServers;
  #stopping = false;

  constructor(options: DevOptions, deps: DevMeshDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#servers = new DevServers(options, deps);
  }

  /** Starts everything and writes `dev.json`. Rejects when a part of it cannot be started. */
  async start(): Promise<DevFile> {
    const { signal } = this.#deps;
    const url = await this.#servers.start();
    signal.throwIfAborted();
    this.#startChildren(url);
    const settled = new AbortController();
    const late = systemClock.sleep(READY_TIMEOUT_MS, settled.signal).then(() => {
      throw new CliError(Exit.timeout, "timeout", `not ready within ${READY_TIMEOUT_MS} ms`);
    });
    late.catch(() => undefined); // Also rejects when the race is long over.
    try {
      const serverEnded = this.#servers.firstEnd().then(({ name, endedAs }) => {
        throw new CliError(Exit.error, "error", `${name} ended (${endedAs})`);
      });
      serverEnded.catch(() => undefined); // As above.
      await Promise.race([this.#ready(url), rejectOnAbort(signal), serverEnded, late]);
    } finally {
      settled.abort();
    }
    const file = this.#file(url);
    writeDevFile(this.#options.dir, file);
    this.#reportEnds();
    return file;
  }

  /** Ends nodes, services and servers, in this order. A repeat finds nothing left to do. */
  async stop(): Promise<void> {
    this.#stopping = true;
    removeDevFile(this.#options.dir);
    const [nodes, services] = [true, false].map((node) =>
      this.#children.filter((child) => (child.plan.kind === "node") === node),
    );
    await Promise.all((nodes ?? []).map((child) => child.stop()));
    await Promise.all((services ?? []).map((child) => child.stop()));
    await this.#servers.stop();
  }

  /** Kills everything at once. */
  kill(): void {
    this.#stopping = true;
    removeDevFile(this.#options.dir);
    for (const child of this.#children) child.kill();
    this.#servers.kill();
  }

  #startChildren(url: string): void {
    const { dir } = this.#options;
    const { io, printer } = this.#deps;
    const server = { url, seedPath: (user: string) => seedPath(dir, user) };
    for (const plan of planProcesses(this.#options, server, io.env)) {
      this.#children.push(new Child(plan, io.cwd, (line) => printer.print(plan.name, line)));
    }
  }

  /** Every process says that it is ready, and the registry says that every node is active. */
  async #ready(url: string): Promise<void> {
    await Promise.all(this.#children.map((child) => child.ready()));
    const { dir, nodeIds } = this.#options;
    const client = await connectClient({
      servers: url,
      seed: await readSeed(seedPath(dir, "client")),
      name: "swarmctl-dev",
      patient: false,
    });
    try {
      for (;;) {
        this.#deps.signal.throwIfAborted();
        const nodes = await client.nodes({ signal: this.#deps.signal });
        const active = new Set(nodes.filter(({ state }) => state === "ACTIVE").map(({ id }) => id));
        if (nodeIds.every((id) => active.has(id))) return;
        await systemClock.sleep(NODES_POLL_MS);
      }
    } finally {
      await client.close();
    }
  }

  #file(url: string): DevFile {
    const { dir, nodeIds } = this.#options;
    const { websocket } = this.#servers;
    const users = ["client", "viewer", "admin", ...nodeIds];
    return {
      url,
      ...(websocket === undefined ? {} : { websocket }),
      keys: Object.fromEntries(users.map((user) => [user, seedPath(dir, user)])),
      processes: [
        ...this.#servers.running.map(({ name, pid }) => ({ name, kind: SERVER_KIND, pid })),
        ...this.#children.map(({ plan, pid }) => ({ name: plan.name, kind: plan.kind, pid })),
      ],
      pid: process.pid,
    };
  }

  #reportEnds(): void {
    const report = (name: string, ended: Promise<string>): void => {
      void ended.then((endedAs) => {
        if (!this.#stopping) this.#deps.say(`${name} ended (${endedAs}); it is not started again`);
      });
    };
    for (const { name, ended } of this.#servers.running) report(name, ended);
    for (const child of this.#children) report(child.plan.name, child.ended);
  }
}

function rejectOnAbort(signal: AbortSignal): Promise<never> {
  const rejection = new Promise<never>((_resolve, reject) => {
    const onAbort = (): void =>
      reject(new CliError(Exit.error, "aborted", "stopped while starting"));
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
  rejection.catch(() => undefined); // May reject after the race is over.
  return rejection;
}
