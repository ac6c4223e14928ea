/** The nats-servers of a dev mesh: one, or a cluster whose every member keeps all that is stored. */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import {
  freePorts,
  isPortFree,
  locateNatsServer,
  prepareCluster,
  prepareServerDir,
  type RunningNatsServer,
  startNatsServer,
  writeContexts,
} from "@swarm-mesh/server";
import { CliError, Exit, usageError } from "../exit.ts";
import type { DevMeshDeps } from "./dev-mesh.ts";
import { type DevOptions, serverNames } from "./plan.ts";
import { withWebsocket } from "./websocket.ts";

/** One of the servers. */
export interface DevServer {
  readonly name: string;
  readonly pid: number;
  /** Resolves with how it ended: `status 1`, `SIGKILL`. */
  readonly ended: Promise<string>;
}

/** How a server is to be started. */
interface ServerPlan {
  readonly name: string;
  readonly conf: string;
  /** Its data and the file with its ports. */
  readonly dir: string;
  /** 0: a free one. */
  readonly port: number;
}

/** The nats-servers of a dev mesh: one, or a cluster. */
export class DevServers {
  readonly #options: DevOptions;
  readonly #deps: DevMeshDeps;
  readonly #servers: (DevServer & { readonly server: RunningNatsServer })[] = [];
  #started = false;

  constructor(options: DevOptions, deps: DevMeshDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Those that were started, whether or not they still run. */
  get running(): readonly DevServer[] {
    return this.#servers;
  }

  /** Starts all of them; returns their addresses, separated by commas. */
  async start(): Promise<string> {
    const { dir, offline } = this.#options;
    const { say, signal, io } = this.#deps;
    const binary = await locateNatsServer({ report: say, offline, signal, env: { ...io.env } });
    const plans = await this.#plan();
    const urls: string[] = [];
    for (const plan of plans) urls.push(await this.#startOne(plan, binary.path));
    this.#started = true;
    const url = urls.join(",");
    await writeContexts(dir, url);
    return url;
  }

  /** Where the first of them takes WebSockets. */
  get websocket(): string | undefined {
    return this.#servers[0]?.server.websocket;
  }

  /** The first of them that ends. */
  firstEnd(): Promise<{ readonly name: string; readonly endedAs: string }> {
    return Promise.race(
      this.#servers.map(({ name, ended }) => ended.then((endedAs) => ({ name, endedAs }))),
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.#servers.map(({ server }) => server.stop()));
  }

  kill(): void {
    for (const { server } of this.#servers) server.child.kill("SIGKILL");
  }

  async #plan(): Promise<readonly ServerPlan[]> {
    const { dir, keep, nodeIds, port, servers } = this.#options;
    const names = serverNames(this.#options);
    const wanted = names.map((_, index) => port + index);
    if (port !== 0) for (const each of wanted) await requireFree(each);
    const { conf, tls } = await prepareServerDir(dir, { nodes: nodeIds });
    if (tls !== undefined) {
      throw usageError(
        `${dir} is set up for TLS, and \`swarmctl dev\` is for this machine alone: give it a --dir of its own`,
      );
    }
    if (!keep) await removeStores(dir);
    if (servers === 1) return [{ name: names[0] ?? "", conf, dir, port }];
    const free = await freePorts(servers * 2);
    const ports = port === 0 ? free.slice(0, servers) : wanted;
    const members = names.map((name, index) => {
      const routePort = free[servers + index] ?? 0;
      const listen = `127.0.0.1:${ports[index]}`;
      return { name, host: "127.0.0.1", listen, routePort, routeListen: `127.0.0.1:${routePort}` };
    });
    const confs = await prepareCluster(dir, members);
    return names.map((name, index) => ({
      name,
      conf: confs[index] ?? "",
      dir: join(dir, name),
      port: ports[index] ?? 0,
    }));
  }

  async #startOne({ name, conf, dir, port }: ServerPlan, binary: string): Promise<string> {
    const { printer } = this.#deps;
    const server = await startNatsServer({
      binary,
      conf: await withWebsocket(this.#options.dir, conf),
      dir,
      ...(port === 0 ? {} : { port }),
      log: (line) => {
        // What goes well is told by the processes that use it; those that start look for each other, and
        // have WebSockets without TLS.
        if (this.#started && /\[(WRN|ERR|FTL)\]/.test(line)) printer.print(name, line);
      },
    });
    const ended = new Promise<string>((resolve) => {
      server.child.once("exit", (code, signal) => resolve(signal ?? `status ${code}`));
    });
    this.#servers.push({ name, pid: server.pid, ended, server });
    await withWebsocket(this.#options.dir, conf, server.websocket);
    return server.url;
  }
}

/** Removes what earlier runs stored, with one server or several. */
async function removeStores(dir: string): Promise<void> {
  const servers = (await readdir(dir)).filter((name) => /^nats-\d$/.test(name));
  for (const each of ["", ...servers]) {
    await rm(join(dir, each, "jetstream"), { recursive: true, force: true });
  }
}

/** nats-server would say it too, but not what to do. */
async function requireFree(port: number): Promise<void> {
  if (await isPortFree(port)) return;
  throw new CliError(
    Exit.error,
    "port_taken",
    `port ${port} is taken; choose another with --port, or let one be chosen with --port 0`,
  );
}
