/** What a node counts. */
import { leaseRenewals, meterIdentity, meterLink } from "@swarm-mesh/bus";
import {
  type Counter,
  type Family,
  type Histogram,
  LONG_SECONDS,
  type Meters,
} from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";
import type { Agents } from "./agents.ts";
import type { AbortCode } from "./handler.ts";
import type { Runner } from "./runner.ts";

/** How a try ended here. */
export type TryResult = "succeeded" | "failed" | AbortCode;

/** What a node shows of this moment. */
export interface NodeShowing {
  readonly id: string;
  readonly agents: Agents;
  readonly active: () => boolean;
}

export class NodeMeters {
  readonly renewals: Family<Counter>;
  readonly lives: Counter;
  readonly checkpoints: Family<Counter>;
  readonly #meters: Meters;
  readonly #tries: Family<Counter>;
  readonly #run: Family<Histogram>;
  #isUp = (): boolean => false;

  constructor(meters: Meters, { id, agents, active }: NodeShowing) {
    this.#meters = meters;
    const ready = (): boolean => active() && this.#isUp();
    meterIdentity(meters, { service: "node", instance: id, ready });
    this.renewals = leaseRenewals(meters);
    this.lives = meters.counter({
      name: "mesh_node_lives_total",
      help: "Times the node joined: once, and again after each lease it lost.",
    });
    this.checkpoints = meters.counters(
      {
        name: "mesh_node_checkpoints_total",
        help: "Checkpoints that handlers saved, by result: saved, failed.",
        labels: ["result"],
      },
      ["saved", "failed"],
    );
    this.#tries = meters.counters({
      name: "mesh_node_tries_total",
      help: "Tries that ended here: succeeded, failed, or why their handler was aborted.",
      labels: ["capability", "result"],
    });
    this.#run = meters.histograms(
      {
        name: "mesh_node_run_seconds",
        help: "How long the tries took that ended here, whatever became of them.",
        labels: ["capability"],
      },
      LONG_SECONDS,
    );
    meters.gauge(
      { name: "mesh_node_slots", help: "Tasks the node runs at once." },
      () => agents.slots,
    );
    meters.gauge(
      {
        name: "mesh_node_slots_used",
        help: "Slots a handler has, ended tasks' that linger included.",
      },
      () => agents.running,
    );
  }

  /** Counts what happens to the connection, and what the runner counts already. */
  connected(nc: NatsConnection, runner: Runner): void {
    const { counts, outbox } = runner;
    this.#isUp = meterLink(this.#meters, nc);
    this.#meters.gauge(
      {
        name: "mesh_node_outcomes_waiting",
        help: "Outcomes that the coordinator has not acknowledged; at 10000 no task is taken.",
      },
      () => outbox.size,
    );
    this.#meters.counted(
      { name: "mesh_node_tasks_refused_total", help: "Dispatches that this node refused." },
      () => counts.refused,
    );
    this.#meters.counted(
      {
        name: "mesh_node_tasks_malformed_total",
        help: "Messages on the node's subject without the mesh's headers, or with bad ones.",
      },
      () => counts.malformed,
    );
    this.#meters.counted(
      {
        name: "mesh_node_tasks_untrusted_total",
        help: "Tasks refused for their signature, or because they had none.",
      },
      () => counts.untrusted,
    );
  }

  /** A try is over. The capabilities are those the node itself offers, so they are bounded. */
  ended(capability: string, result: TryResult, elapsedMs: number): void {
    this.#tries.of(capability, result).inc();
    this.#run.of(capability).observeMs(elapsedMs);
  }
}
