/**
 * A whole mesh whose every part can be made to fail: each process is killed, frozen and started again
 * by its name, and reaches nats-server over a link of its own.
 *
 * Odd nodes and first replicas come through a proxy. Even nodes and second replicas sit in network
 * namespaces where the machine allows it, else behind a proxy too.
 */
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { Bucket, openConnection, openManager, Requester } from "@swarm-mesh/bus";
import {
  decode,
  LEASES_BUCKET,
  LeaderLease,
  leaderLeaseKey,
  NodeList,
  REGISTRY_LIST_SUBJECT,
  SERVICES,
} from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";
import { EPOCH_MS } from "./epoch.ts";
import { FaultyLink } from "./faulty-link.ts";
import { MeshProcess, type SurprisingEnd } from "./mesh-process.ts";
import type { Cable, Namespaces } from "./namespaces.ts";
import { LEADER, type Target } from "./schedule.ts";
import type { SmallDisk } from "./small-disk.ts";

export interface FaultMeshOptions {
  /** For configuration, keys, logs and data. */
  readonly dir: string;
  /** Nodes n1, n2, …; those with odd numbers have the label `zone=eu`, the others `zone=us`. */
  readonly nodes: number;
  readonly slots: number;
  /** Processes of each service. */
  readonly replicas: number;
  /** Without it every link is a proxy. */
  readonly namespaces?: Namespaces | undefined;
  /** For nats-server's data; without it the data is in `dir`. */
  readonly disk?: SmallDisk | undefined;
}

const run = promisify(execFile);
const REPOSITORY = join(import.meta.dirname, "..", "..", "..");
const SWARMCTL = join(REPOSITORY, "packages", "cli", "bin", "swarmctl.js");
const BUILT = join(REPOSITORY, "test", "faults", "dist");
/** The one kind of work in a storm. */
export const CAPABILITY = "work";
export const SERVER = "nats-server";
const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
/** How long a node that is restarted politely lets its tasks run on. */
const DRAIN_TIMEOUT = "3s";

export class FaultMesh {
  /** Straight to nats-server, for clients that must not fail with the others. */
  readonly url: string;
  readonly targets: readonly Target[];
  /** Processes that ended without having been asked to. */
  readonly surprises: SurprisingEnd[] = [];
  readonly disk: SmallDisk | undefined;
  readonly #options: FaultMeshOptions;
  readonly #processes = new Map<string, MeshProcess>();
  readonly #proxies = new Map<string, FaultyLink>();
  readonly #cables = new Map<string, Cable>();
  readonly #connections: NatsConnection[] = [];
  readonly #onExit = (): void => this.#kill();
  #leases: Promise<Bucket> | undefined;
  #leader = "coordinator-1";

  private constructor(options: FaultMeshOptions, url: string) {
    this.#options = options;
    this.disk = options.disk;
    this.url = url;
    this.targets = this.#planTargets();
    process.once("exit", this.#onExit);
  }

  /** Starts everything; resolves when every node is active. */
  static async start(options: FaultMeshOptions): Promise<FaultMesh> {
    const { dir, nodes } = options;
    const ids = Array.from({ length: nodes }, (_, index) => `n${index + 1}`);
    for (const name of ["logs", "runs", "clocks", "store"]) {
      mkdirSync(join(dir, name), { recursive: true });
    }
    await run(process.execPath, [
      ...[SWARMCTL, "keys", "init", "--dir", dir, "--nodes", ids.join(",")],
    ]);
    const host = options.namespaces?.host ?? "127.0.0.1";
    const mesh = new FaultMesh(options, `nats://${host}:${await freePort(host)}`);
    try {
      await mesh.#start();
    } catch (error) {
      await mesh.close();
      throw error;
    }
    return mesh;
  }

  /** The processes there are, running or not. */
  get processes(): readonly MeshProcess[] {
    return [...this.#processes.values()];
  }

  process(name: string): MeshProcess {
    const found = this.#processes.get(name);
    if (found === undefined) throw new Error(`no process ${name}`);
    return found;
  }

  /** The proxy before a process. Throws when it has none. */
  proxy(name: string): FaultyLink {
    const found = this.#proxies.get(name);
    if (found === undefined) throw new Error(`${name} is not behind a proxy`);
    return found;
  }

  /** The cable of a process's namespace. Throws when it has none. */
  cable(name: string): Cable {
    const found = this.#cables.get(name);
    if (found === undefined) throw new Error(`${name} is not in a namespace`);
    return found;
  }

  /** Makes the wall clock of a process wrong by so much; 0 puts it right. */
  setClock(name: string, offsetMs: number): void {
    writeFileSync(this.#clockFile(name), String(offsetMs));
  }

  /** The coordinator that leads, by its lease; the last one known while that cannot be read. */
  async leader(): Promise<string> {
    this.#leases ??= this.#openLeases();
    const entry = await (await this.#leases)
      .read(leaderLeaseKey("coordinator"))
      .catch(() => undefined);
    const lease = entry?.value === undefined ? undefined : decode(LeaderLease, entry.value);
    if (lease?.ok === true) this.#leader = lease.value.instance;
    return this.#leader;
  }

  /** Puts a proxy before someone outside the mesh; they connect to its `url`. Closed by {@link close}. */
  async addProxy(name: string): Promise<FaultyLink> {
    const { hostname: host, port } = new URL(this.url);
    const proxy = await FaultyLink.open({ host, port: Number(port) });
    this.#proxies.set(name, proxy);
    return proxy;
  }

  /** The nkey seed of a user of the mesh. */
  seed(user: string): Uint8Array {
    return readFileSync(this.#key(user));
  }

  /** Connects as a user of the mesh, straight to the server or by `url`. Closed by {@link close}. */
  async connect(user: string, url = this.url): Promise<NatsConnection> {
    const nc = await openConnection({
      servers: url,
      seed: this.seed(user),
      name: `faults/${user}`,
      inbox: user,
      // Machines of a network that is ours alone.
      protection: { allowPlaintext: true },
    });
    this.#connections.push(nc);
    return nc;
  }

  /** Kills everything that is left and removes what it needed, but for `dir`. */
  async close(): Promise<void> {
    process.off("exit", this.#onExit);
    this.#kill();
    await Promise.all(this.#connections.map((nc) => nc.close()));
    for (const proxy of this.#proxies.values()) await proxy.close();
    await Promise.all(this.processes.map((each) => each.kill()));
  }

  #kill(): void {
    for (const each of this.#processes.values()) each.close();
  }

  async #start(): Promise<void> {
    const deadline = systemClock.elapsed() + READY_TIMEOUT_MS;
    const server = this.#add(this.#planServer());
    server.start();
    await accepting(this.url, () => server.running && systemClock.elapsed() < deadline);
    for (const { name, role, link } of this.targets) {
      if (role !== "service" && role !== "node") continue;
      if (link === "namespace") await this.#addCable(name);
      const url = link === "proxy" ? (await this.addProxy(name)).url : this.url;
      this.setClock(name, 0);
      this.#add(this.#plan(name, role, url)).start();
    }
    const late = systemClock.sleep(READY_TIMEOUT_MS).then(() => {
      throw new Error(
        `the mesh is not ready after ${READY_TIMEOUT_MS} ms; logs in ${this.#options.dir}`,
      );
    });
    late.catch(() => undefined); // Also rejects when the race is long over.
    const ready = this.processes.flatMap((each) => (each.plan.channel ? [each.ready()] : []));
    await Promise.race([Promise.all(ready).then(() => this.#allActive()), late]);
  }

  async #allActive(): Promise<void> {
    const requester = new Requester(await this.connect("client"), { inboxPrefix: "_INBOX_client" });
    for (;;) {
      const reply = await requester.request(REGISTRY_LIST_SUBJECT, "", { timeoutMs: 1_000 });
      const list = reply.kind === "message" ? decode(NodeList, reply.message.data) : undefined;
      const active = list?.ok ? list.value.nodes.filter(({ state }) => state === "ACTIVE") : [];
      if (active.length === this.#options.nodes) return;
      await systemClock.sleep(POLL_MS);
    }
  }

  #planTargets(): readonly Target[] {
    const { nodes, replicas, namespaces, disk } = this.#options;
    const linkOf = (index: number): Target["link"] =>
      namespaces !== undefined && index % 2 === 1 ? "namespace" : "proxy";
    const count = (length: number): number[] => Array.from({ length }, (_, index) => index);
    return [
      { name: SERVER, role: "server", link: "none", smallDisk: disk !== undefined },
      { name: LEADER, role: "leader", link: "none" },
      ...SERVICES.flatMap((service) =>
        count(replicas).map(
          (index): Target => ({
            name: `${service}-${index + 1}`,
            role: "service",
            link: linkOf(index),
          }),
        ),
      ),
      ...count(nodes).map(
        (index): Target => ({ name: `n${index + 1}`, role: "node", link: linkOf(index) }),
      ),
    ];
  }

  async #addCable(name: string): Promise<void> {
    const cable = await this.#options.namespaces?.add(name);
    if (cable !== undefined) this.#cables.set(name, cable);
  }

  #add(plan: MeshProcess["plan"]): MeshProcess {
    const added = new MeshProcess(plan, (end) => this.surprises.push(end));
    this.#processes.set(plan.name, added);
    return added;
  }

  #planServer(): MeshProcess["plan"] {
    const { dir, disk } = this.#options;
    const { hostname, port } = new URL(this.url);
    const binary = process.env["NATS_SERVER"] ?? SERVER;
    return {
      name: SERVER,
      command: [binary, "-c", join(dir, "nats-server.conf"), "-a", hostname, "-p", port],
      env: process.env,
      // Its data is where it is started.
      cwd: disk?.dir ?? join(dir, "store"),
      log: this.#logFile(SERVER),
      channel: false,
    };
  }

  #plan(name: string, role: "service" | "node", url: string): MeshProcess["plan"] {
    const { dir, slots } = this.#options;
    const { NATS_CONTEXT: _context, MESH_DIR: _dir, ...inherited } = process.env;
    const service = name.replace(/-\d+$/, "");
    const number = Number(name.slice(1));
    const args =
      role === "service"
        ? ["service", service]
        : [
            ...["node", "run", "--id", name, "--slots", String(slots)],
            ...["--label", `zone=${number % 2 === 1 ? "eu" : "us"}`],
            ...["--drain-timeout", DRAIN_TIMEOUT],
            ...["--handle", `${CAPABILITY}=module:${join(BUILT, "work-handler.js")}`],
          ];
    return {
      name,
      command: [
        ...(this.#cables.get(name)?.prefix ?? []),
        process.execPath,
        SWARMCTL,
        ...args,
        "--stop-with-parent",
      ],
      env: {
        ...inherited,
        NATS_URL: url,
        MESH_ALLOW_PLAINTEXT: "1",
        NATS_NKEY: this.#key(role === "service" ? service : name),
        NODE_OPTIONS: `--trace-warnings --import=${pathToFileURL(join(BUILT, "clock-shift.js")).href}`,
        FAULTS_CLOCK: this.#clockFile(name),
        ...(role === "service"
          ? { MESH_INSTANCE: name }
          : {
              FAULTS_RUNS: join(dir, "runs"),
              FAULTS_NODE: name,
              FAULTS_EPOCH: String(EPOCH_MS),
            }),
      },
      cwd: dir,
      log: this.#logFile(name),
      channel: true,
    };
  }

  #key(user: string): string {
    return join(this.#options.dir, "keys", `${user}.nk`);
  }

  #clockFile(name: string): string {
    return join(this.#options.dir, "clocks", name);
  }

  #logFile(name: string): string {
    return join(this.#options.dir, "logs", `${name}.log`);
  }

  async #openLeases(): Promise<Bucket> {
    const nc = await this.connect("admin");
    const requester = new Requester(nc, { inboxPrefix: "_INBOX_admin" });
    return new Bucket(LEASES_BUCKET, await openManager(nc), requester);
  }
}

/** A port of `host` that is free now; whoever is quick could take it before we do. */
async function freePort(host: string): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once("error", reject);
    probe.listen(0, host, resolve);
  });
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  if (typeof address !== "object" || address === null) throw new Error("no port");
  return address.port;
}

/** Resolves when a server accepts connections; rejects when `hope` is gone. */
async function accepting(url: string, hope: () => boolean): Promise<void> {
  const { hostname: host, port } = new URL(url);
  while (hope()) {
    const socket = connect({ host, port: Number(port) });
    const open = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    socket.destroy();
    if (open) return;
    await systemClock.sleep(POLL_MS);
  }
  throw new Error(`nats-server does not listen on ${url}; NATS_SERVER names the one to start`);
}
