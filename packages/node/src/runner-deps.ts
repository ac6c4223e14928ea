/** What the runner is given, and what it counts. */
import type { Requester } from "@swarm-mesh/bus";
import type { Clock, Log, Random } from "@swarm-mesh/runtime";
import type { Agents } from "./agents.ts";
import type { NodeMeters } from "./meters.ts";
import type { Trust } from "./trust.ts";

/** The life of the node in which tasks may run. */
export interface Life {
  readonly incarnation: number;
  /**
   * `trusted`: the lease is ours. `granting`: it is being asked for. `adrift`: the server is there and
   * its store does not answer, so nobody else can have it either: what runs goes on, nothing begins.
   * `over`: it is not ours.
   */
  standing(): "granting" | "trusted" | "adrift" | "over";
}

export interface RunnerDeps {
  readonly nodeId: string;
  readonly agents: Agents;
  /** Whose tasks are run; without it, everybody's. */
  readonly trust: Trust | undefined;
  readonly requester: Requester;
  readonly publish: (subject: string, payload: string) => void;
  /** What a handler may take to end after its time is up. */
  readonly graceMs: number;
  /** The server's limit of one message. */
  readonly messageMaxBytes: () => number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly meters: NodeMeters;
}

/** What the runner has done since the process started. */
export interface RunnerCounts {
  started: number;
  ended: number;
  refused: number;
  /** Messages on the node's subject without the mesh's headers, or with bad ones. */
  malformed: number;
  /** Tasks refused for their signature, or because they had none. */
  untrusted: number;
}
