/**
 * A mesh in processes of this machine: nats-server, services, nodes.
 *
 * It owns every process it started. `start` either gets all of them ready or ends those it started;
 * `stop` ends them in order: nodes hand back while there are services, services let go of their
 * leases while there is a server.
 */
import { rm } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { connectClient } from "@swarm-mesh/client";
import { systemClock } from "@swarm-mesh/runtime";
import {
  locateNatsServer,
  prepareServerDir,
  type RunningNatsServer,
  readSeed,
  seedPath,
  startNatsServer,
  writeContexts,
} from "@swarm-mesh/server";
import { CliError, Exit, usageError } from "../exit.ts";
import type { Io } from "../io.ts";
import { Child } from "./child.ts";
import { type DevFile, removeDevFile, writeDevFile } from "./dev-file.ts";
import type { LinePrinter } from "./log-lines.ts";
import { type DevOptions, planProcesses } from "./plan.ts";
import { withWebsocket } from "./websocket.ts";

/** From the server's start until every node is active. A busy machine starts a process in seconds. */
const READY_TIMEOUT_MS = 60_000;
const NODES_POLL_MS = 25;

/** The process that `dev` itself is, in its own log. */
export const OWN_NAME = "dev";
export const SERVER_NAME = "nats-server";

export interface DevMeshDeps {
  readonly io: Pick<Io, "env" | "cwd">;
  readonly printer: LinePrinter;
  /** For what `dev` itself has to say. */
  readonly say: (text: string) => void;
  /** Aborts: give up starting. */
  readonly signal: AbortSignal;
}

export class DevMesh {
  readonly #options: DevOptions;
  readonly #deps: DevMeshDeps;
  readonly #children: Child[] = [];
  #server: RunningNatsServer | undefined;
  #stopping = false;

  constructor(options: DevOptions, deps: DevMeshDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Starts everything and writes `dev.json`. Rejects when a part of it cannot be started. */
  async start(): Promise<DevFile> {
    const { signal } = this.#deps;
    const server = await this.#startServer();
    signal.throwIfAborted();
    this.#startChildren(server.url);
    const settled = new AbortController();
    const late = systemClock.sleep(READY_TIMEOUT_MS, settled.signal).then(() => {
      throw new CliError(Exit.timeout, "timeout", `not ready within ${READY_TIMEOUT_MS} ms`);
    });
    late.catch(() => undefined); // Also rejects when the race is long over.
    try {
      const serverEnded = endOf(server).then((endedAs) => {
        throw new CliError(Exit.error, "error", `nats-server ended (${endedAs})`);
      });
      serverEnded.catch(() => undefined); // As above.
      await Promise.race([this.#ready(server.url), rejectOnAbort(signal), serverEnded, late]);
    } finally {
      settled.abort();
    }
    const file = this.#file(server);
    writeDevFile(this.#options.dir, file);
    this.#reportEnds(server);
    return file;
  }

  /** Ends nodes, services and server, in this order. A repeat finds nothing left to do. */
  async stop(): Promise<void> {
    this.#stopping = true;
    removeDevFile(this.#options.dir);
    const [nodes, services] = [true, false].map((node) =>
      this.#children.filter((child) => (child.plan.kind === "node") === node),
    );
    await Promise.all((nodes ?? []).map((child) => child.stop()));
    await Promise.all((services ?? []).map((child) => child.stop()));
    await this.#server?.stop();
  }

  /** Kills everything at once. */
  kill(): void {
    this.#stopping = true;
    removeDevFile(this.#options.dir);
    for (const child of this.#children) child.kill();
    this.#server?.child.kill("SIGKILL");
  }

  async #startServer(): Promise<RunningNatsServer> {
    const { dir, keep, nodeIds, offline, port } = this.#options;
    const { say, signal, printer, io } = this.#deps;
    const binary = await locateNatsServer({ report: say, offline, signal, env: { ...io.env } });
    if (port !== 0) await requireFree(port);
    const { tls } = await prepareServerDir(dir, { nodes: nodeIds });
    if (tls !== undefined) {
      throw usageError(
        `${dir} is set up for TLS, and \`swarmctl dev\` is for this machine alone: give it a --dir of its own`,
      );
    }
    if (!keep) await rm(join(dir, "jetstream"), { recursive: true, force: true });
    const server = await startNatsServer({
      binary: binary.path,
      conf: await withWebsocket(dir),
      dir,
      ...(port === 0 ? {} : { port }),
      log: (line) => {
        // What goes well is told by the processes that use it. On loopback nobody wants TLS.
        if (/\[(WRN|ERR|FTL)\]/.test(line) && !/Websocket not configured/.test(line))
          printer.print(SERVER_NAME, line);
      },
    });
    this.#server = server;
    await withWebsocket(dir, server.websocket);
    await writeContexts(dir, server.url);
    return server;
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

  #file(server: RunningNatsServer): DevFile {
    const { dir, nodeIds } = this.#options;
    const users = ["client", "viewer", "admin", ...nodeIds];
    return {
      url: server.url,
      ...(server.websocket === undefined ? {} : { websocket: server.websocket }),
      keys: Object.fromEntries(users.map((user) => [user, seedPath(dir, user)])),
      processes: [
        { name: SERVER_NAME, kind: SERVER_NAME, pid: server.pid },
        ...this.#children.map(({ plan, pid }) => ({ name: plan.name, kind: plan.kind, pid })),
      ],
      pid: process.pid,
    };
  }

  #reportEnds(server: RunningNatsServer): void {
    const report = (name: string, ended: Promise<string>): void => {
      void ended.then((endedAs) => {
        if (!this.#stopping) this.#deps.say(`${name} ended (${endedAs}); it is not started again`);
      });
    };
    report(SERVER_NAME, endOf(server));
    for (const child of this.#children) report(child.plan.name, child.ended);
  }
}

function endOf({ child }: RunningNatsServer): Promise<string> {
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => resolve(signal ?? `status ${code}`));
  });
}

/** nats-server would say it too, but not what to do. */
async function requireFree(port: number): Promise<void> {
  const probe = createServer();
  const taken = await new Promise<boolean>((resolve) => {
    probe.once("error", () => resolve(true));
    probe.listen(port, "127.0.0.1", () => resolve(false));
  });
  if (!taken) {
    await new Promise((resolve) => probe.close(resolve));
    return;
  }
  throw new CliError(
    Exit.error,
    "port_taken",
    `port ${port} is taken; choose another with --port, or let one be chosen with --port 0`,
  );
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
