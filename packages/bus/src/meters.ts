/** What every process of the mesh counts, under the same names. */
import { VERSION } from "@swarm-mesh/protocol";
import type { Counter, Family, Meters } from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";
import { watchLink } from "./connect.ts";

export interface Identity {
  /** `coordinator`, `node`, … */
  readonly service: string;
  readonly instance: string;
  /** Is it ready to do its work? */
  readonly ready: () => boolean;
}

/** Says who this process is, and whether it is ready. */
export function meterIdentity(meters: Meters, { service, instance, ready }: Identity): void {
  meters.gauge(
    {
      name: "mesh_build_info",
      help: "Always 1; what runs is in the labels.",
      labels: ["service", "instance_name", "version", "node_version"],
    },
    () => [{ labels: [service, instance, VERSION, process.versions.node], value: 1 }],
  );
  meters.gauge({ name: "mesh_ready", help: "1 while the process is ready to do its work." }, () =>
    ready() ? 1 : 0,
  );
}

/** Counts what happens to the connection. Returns whether it stands. */
export function meterLink(meters: Meters, nc: NatsConnection): () => boolean {
  let up = !nc.isClosed();
  const isUp = (): boolean => up && !nc.isClosed();
  const reconnects = meters.counter({
    name: "mesh_nats_reconnects_total",
    help: "Times the connection to NATS was lost and came back.",
  });
  meters.gauge(
    { name: "mesh_nats_connected", help: "1 while the connection to NATS stands." },
    () => (isUp() ? 1 : 0),
  );
  const onLink = (now: boolean): void => {
    if (now) reconnects.inc();
    up = now;
  };
  // It ends with the connection.
  void watchLink(nc, onLink, new AbortController().signal);
  return isUp;
}

/** Renewals of this process's lease by what came of them: `renewed`, `unknown`, `disputed`, `lost`. */
export function leaseRenewals(meters: Meters): Family<Counter> {
  return meters.counters(
    {
      name: "mesh_lease_renewals_total",
      help: "Renewals of the lease this process holds, by result: renewed, unknown (no answer), disputed, lost.",
      labels: ["result"],
    },
    ["renewed", "unknown", "disputed", "lost"],
  );
}

/** Writes of the audit trail that the store refused: while it counts on, the trail stands still. */
export function auditRefusals(meters: Meters): Counter {
  return meters.counter({
    name: "mesh_audit_refused_total",
    help: "Writes to the audit trail that the store refused; the trail stands still until one is taken.",
  });
}
