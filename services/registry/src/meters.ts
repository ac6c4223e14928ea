/** What a registry counts. */
import { RefusedError } from "@swarm-mesh/bus";
import { type NodeRecord, NodeState } from "@swarm-mesh/protocol";
import type { Counter, Family, Meters } from "@swarm-mesh/runtime";

export class RegistryMeters {
  readonly #registrations: Counter;
  readonly #refusals: Family<Counter>;
  readonly changes: Family<Counter>;

  /** `nodes`: the records there are. */
  constructor(meters: Meters, nodes: () => Iterable<readonly [string, NodeRecord]>) {
    this.#registrations = meters.counter({
      name: "mesh_registrations_total",
      help: "Lives of nodes that were let in.",
    });
    this.#refusals = meters.counters(
      {
        name: "mesh_registrations_refused_total",
        help: "Registrations refused, by error code.",
        labels: ["code"],
      },
      ["id_in_use", "bad_request", "unavailable"],
    );
    this.changes = meters.counters(
      {
        name: "mesh_registry_writes_total",
        help: "States of nodes that this registry wrote, by state.",
        labels: ["state"],
      },
      ["ACTIVE", "LEAVING", "LEFT", "FAILED"],
    );
    meters.gauge(
      {
        name: "mesh_node_records",
        help: "Nodes by the state of their record; those that left or failed are kept for 7 days.",
        labels: ["state"],
      },
      () => {
        const counts = new Map(NodeState.options.map((state) => [state, 0]));
        for (const [, { state }] of nodes()) counts.set(state, (counts.get(state) ?? 0) + 1);
        counts.delete("DISCOVERING");
        return Array.from(counts, ([state, value]) => ({ labels: [state], value }));
      },
    );
  }

  /** Counts what comes of a registration. */
  async registration<T>(asked: Promise<T>): Promise<T> {
    try {
      const welcome = await asked;
      this.#registrations.inc();
      return welcome;
    } catch (error) {
      if (error instanceof RefusedError) this.#refusals.of(error.error.code).inc();
      throw error;
    }
  }
}
