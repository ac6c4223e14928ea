/** What a health-monitor counts. */
import {
  type Counter,
  type Family,
  type Histogram,
  type Meters,
  QUICK_SECONDS,
} from "@swarm-mesh/runtime";

/** What is shown of this moment. */
export interface Showing {
  /** Is the fast path shut? */
  readonly braking: () => boolean;
  readonly suspects: () => number;
}

export class HealthMonitorMeters {
  readonly disconnects: Counter;
  readonly pings: Family<Counter>;
  readonly verdicts: Family<Counter>;
  readonly detection: Histogram;

  constructor(meters: Meters, { braking, suspects }: Showing) {
    this.disconnects = meters.counter({
      name: "mesh_node_disconnects_total",
      help: "Connections of nodes that the server said were closed.",
    });
    this.pings = meters.counters(
      {
        name: "mesh_node_pings_total",
        help: "Pings of suspect nodes: answered, no_responders, timeout, other_life.",
        labels: ["result"],
      },
      ["answered", "no_responders", "timeout", "other_life"],
    );
    this.verdicts = meters.counters(
      {
        name: "mesh_node_verdicts_total",
        help: "States of nodes that this monitor wrote: FAILED, DEGRADED, ACTIVE.",
        labels: ["state"],
      },
      ["FAILED", "DEGRADED", "ACTIVE"],
    );
    this.detection = meters.histogram(
      {
        name: "mesh_node_detection_seconds",
        help: "From the first sign that a node may be gone to its record FAILED.",
      },
      QUICK_SECONDS,
    );
    meters.gauge(
      {
        name: "mesh_brake",
        help: "1 while too many nodes are suspect for one to be failed alone.",
      },
      () => (braking() ? 1 : 0),
    );
    meters.gauge({ name: "mesh_nodes_suspect", help: "Nodes that are being asked." }, suspects);
  }
}
