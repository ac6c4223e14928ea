/** What a dev mesh consists of: which processes, started how. */
import { join, resolve } from "node:path";
import { NODE_SLOTS_MAX, SERVICES } from "@swarm-mesh/protocol";
import { usageError } from "../exit.ts";
import { countFlag, handleFlags } from "../flags.ts";
import type { Io } from "../io.ts";

/** The flags of `swarmctl dev` as they were typed. */
export interface DevFlags {
  readonly port: string;
  readonly dir: string;
  readonly nodes: string;
  readonly slots: string;
  readonly replicas: string;
  readonly servers: string;
  readonly handle?: readonly string[];
  readonly keep?: boolean;
  readonly offline?: boolean;
  readonly jsonLogs?: boolean;
  readonly metricsPort?: string;
  readonly stopWithParent?: boolean;
}

/** What `swarmctl dev` was asked for, checked. */
export interface DevOptions {
  /** 0: a free one. */
  readonly port: number;
  readonly dir: string;
  readonly nodeIds: readonly string[];
  readonly slots: number;
  readonly replicas: number;
  /** nats-servers; more than one are a cluster. */
  readonly servers: number;
  readonly handles: readonly string[];
  readonly keep: boolean;
  readonly offline: boolean;
  readonly jsonLogs: boolean;
  /** The first of the processes' ports; 0: none. */
  readonly metricsPort: number;
}

/** One process to start. */
export interface ProcessPlan {
  readonly name: string;
  readonly kind: string;
  /** Arguments of swarmctl. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Nodes and replicas that one machine can bear as processes. */
const NODES_MAX = 200;
const REPLICAS_MAX = 9;
/** Everything is stored on each of them; JetStream makes at most five copies. */
const SERVERS_MAX = 5;

/** Counts to n and saves how far it came: what is left when its node is killed goes on elsewhere. */
const COUNT_HANDLER = join(import.meta.dirname, "..", "..", "handlers", "count.js");
/** What the nodes can do when nothing is said. */
export const HANDLES_DEFAULT = ["echo=cat", "wordcount=wc -w", `count=module:${COUNT_HANDLER}`];

/** Reads the flags. Throws a usage error. */
export function devOptions(flags: DevFlags, cwd: string): DevOptions {
  const nodes = countFlag("--nodes", flags.nodes, { min: 0, max: NODES_MAX });
  return {
    port: countFlag("--port", flags.port, { min: 0, max: 65_535 }),
    dir: resolve(cwd, flags.dir),
    nodeIds: Array.from({ length: nodes }, (_, index) => `n${index + 1}`),
    slots: countFlag("--slots", flags.slots, { min: 1, max: NODE_SLOTS_MAX }),
    replicas: countFlag("--replicas", flags.replicas, { min: 1, max: REPLICAS_MAX }),
    servers: serversFlag(flags.servers),
    handles: flags.handle === undefined ? HANDLES_DEFAULT : handleFlags(flags.handle),
    keep: flags.keep === true,
    offline: flags.offline === true,
    jsonLogs: flags.jsonLogs === true,
    metricsPort: countFlag("--metrics-port", flags.metricsPort ?? "0", { min: 0, max: 65_535 }),
  };
}

/** An even number bears no more losses than the odd one below it. */
function serversFlag(text: string): number {
  const count = countFlag("--servers", text, { min: 1, max: SERVERS_MAX });
  if (count % 2 === 1) return count;
  throw usageError(
    `--servers ${count} can lose no more of them than ${count - 1} can: choose an odd number`,
  );
}

/** The names of the nats-servers, in the order they are started. */
export function serverNames({ servers }: Pick<DevOptions, "servers">): readonly string[] {
  if (servers === 1) return ["nats-server"];
  return Array.from({ length: servers }, (_, index) => `nats-${index + 1}`);
}

/** Every process but nats-server, in the order they are started; they are stopped in reverse. */
export function planProcesses(
  options: DevOptions,
  server: { readonly url: string; readonly seedPath: (user: string) => string },
  env: Io["env"],
): readonly ProcessPlan[] {
  const { NATS_CONTEXT: _context, MESH_DIR: _dir, ...inherited } = env;
  const envOf = (user: string) => ({
    ...inherited,
    NATS_URL: server.url,
    NATS_NKEY: server.seedPath(user),
    ...(options.servers === 1 ? {} : { MESH_REPLICAS: String(options.servers) }),
  });
  const services = SERVICES.flatMap((service) =>
    Array.from({ length: options.replicas }, (_, index): ProcessPlan => {
      const name = `${service}-${index + 1}`;
      return {
        name,
        kind: service,
        args: ["service", service, "--stop-with-parent"],
        env: { ...envOf(service), MESH_INSTANCE: name },
      };
    }),
  );
  const nodes = options.nodeIds.map(
    (id): ProcessPlan => ({
      name: id,
      kind: "node",
      args: [
        ...["node", "run", "--id", id, "--slots", String(options.slots), "--stop-with-parent"],
        ...options.handles.flatMap((handle) => ["--handle", handle]),
      ],
      env: envOf(id),
    }),
  );
  return [...services, ...nodes].map((plan, index) => {
    // Never one port for all, which an inherited variable would be.
    const port = options.metricsPort === 0 ? undefined : String(options.metricsPort + index);
    return { ...plan, env: { ...plan.env, MESH_HTTP_PORT: port } };
  });
}
