/** What a migrator counts. */
import {
  type Counter,
  type Family,
  type Histogram,
  LONG_SECONDS,
  type Meters,
} from "@swarm-mesh/runtime";

export class MigratorMeters {
  readonly events: Family<Counter>;
  readonly moves: Family<Counter>;
  readonly failover: Histogram;

  /** `inHand`: events that are worked on. */
  constructor(meters: Meters, inHand: () => number) {
    this.events = meters.counters(
      {
        name: "mesh_migrator_events_total",
        help: "Ends of nodes' lives: settled, put_off (comes again), dropped (not readable).",
        labels: ["result"],
      },
      ["settled", "put_off", "dropped"],
    );
    this.moves = meters.counters(
      {
        name: "mesh_migrator_moves_total",
        help: "Moves asked for: moved, or stale, when somebody else was first.",
        labels: ["answer"],
      },
      ["moved", "stale"],
    );
    this.failover = meters.histogram(
      {
        name: "mesh_failover_seconds",
        help: "From a node's record FAILED until none of its tasks is left there, by wall clock.",
      },
      LONG_SECONDS,
    );
    meters.gauge(
      { name: "mesh_migrator_events_in_hand", help: "Ends of nodes' lives being worked on." },
      inHand,
    );
  }
}
