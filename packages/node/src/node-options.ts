/** How a node is set up. */
import type { Protection } from "@swarm-mesh/bus";
import type { Registration } from "@swarm-mesh/protocol";
import type { Clock, Log, Meters, Random } from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";
import type { AgentOptions } from "./agents.ts";
import type { TrustOptions } from "./trust.ts";

/** What a node is told when it is made; the id alone is required. */
export interface MeshNodeOptions {
  /** The node's id; with keys, the name its key was made for. */
  readonly id: string;
  /** One server or several, `nats://host:port`. Default: this machine's. */
  readonly servers?: string | readonly string[];
  /** The nkey seed that says who we are; without it the connection is anonymous. */
  readonly seed?: Uint8Array | undefined;
  /** How the way to the server is encrypted. Default: what the environment says, `NATS_CA` and others. */
  readonly protection?: Protection | undefined;
  /** A join token, for a key that the mesh does not know yet: it lets the key in, once. */
  readonly token?: string | undefined;
  /** A connection to use instead of opening one; its owner closes it. */
  readonly connection?: NatsConnection;
  /** Tasks at once, when there is one agent, `main`. Default: the number of cores. */
  readonly slots?: number;
  /** Several executors, each with slots of its own, instead of {@link slots}. */
  readonly agents?: readonly AgentOptions[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly role?: Registration["role"];
  readonly version?: string;
  readonly costPerHour?: number;
  /** Where the node listens for people. The mesh needs neither. */
  readonly host?: string;
  readonly port?: number;
  /** What a handler may take to end, and to save, once its signal aborted. Default 2 s. */
  readonly graceMs?: number;
  /** Whose tasks it runs. Without it: everybody's who may submit, and signatures are not looked at. */
  readonly trust?: TrustOptions | undefined;
  readonly log?: Log;
  /** Where the node counts, to be served by the metrics package. One for each node. */
  readonly meters?: Meters;
  readonly clock?: Clock;
  readonly random?: Random;
}

/** How a node leaves. */
export interface DrainOptions {
  /** Running tasks may finish until then; after it they are handed back. Default 30 s. */
  readonly deadlineMs?: number;
  /** For people, kept in the node's record. */
  readonly reason?: string;
}

/** What a node is doing. */
export type NodePhase = "new" | "joining" | "active" | "leaving" | "closed";
