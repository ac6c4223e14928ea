/** The durable consumers of the task streams: one per capability and precedence. */
import { AckPolicy, type ConsumerConfig, DeliverPolicy, ReplayPolicy } from "@nats-io/jetstream";
import {
  isCapability,
  MESH_RETRIES,
  MESH_TASKS,
  retrySubject,
  submitSubject,
} from "@swarm-mesh/protocol";
import { nanos } from "nats";
import { PRECEDENCE, type Precedence } from "./backlog.ts";

/** After it an unacknowledged message comes again; held messages are renewed well before. */
export const ACK_WAIT_MS = 120_000;
/** Pull requests one consumer may have open in the server. */
const WAITING_PULLS_MAX = 512;

/** The stream that holds the lane. */
export function streamOf(precedence: Precedence): string {
  return precedence === "retry" ? MESH_RETRIES.name : MESH_TASKS.name;
}

/** The name of the lane's consumer: `<precedence>-<capability>`. */
export function consumerName(capability: string, precedence: Precedence): string {
  return `${precedence}-${capability}`;
}

/** Which lane a consumer is of. */
export interface LaneName {
  readonly capability: string;
  readonly precedence: Precedence;
}

/** Whose consumer has this name; `undefined`: not one of ours. */
export function laneOf(name: string): LaneName | undefined {
  const dash = name.indexOf("-");
  const precedence = PRECEDENCE.find((one) => one === name.slice(0, dash));
  const capability = name.slice(dash + 1);
  return precedence === undefined || !isCapability(capability)
    ? undefined
    : { capability, precedence };
}

function filtersOf(capability: string, precedence: Precedence): string[] {
  switch (precedence) {
    case "retry":
      return [retrySubject(capability)];
    case "normal":
      return [submitSubject(capability), submitSubject(capability, "normal")];
    case "high":
    case "low":
      return [submitSubject(capability, precedence)];
  }
}

/** The lane's consumer, as it is made. */
export function consumerConfig(
  capability: string,
  precedence: Precedence,
): Partial<ConsumerConfig> {
  const filters = filtersOf(capability, precedence);
  return {
    durable_name: consumerName(capability, precedence),
    description: `${capability}, ${precedence}`,
    ack_policy: AckPolicy.Explicit,
    deliver_policy: DeliverPolicy.All,
    replay_policy: ReplayPolicy.Instant,
    ack_wait: nanos(ACK_WAIT_MS),
    // Tries are counted in the record, not here: a message is never given up by the server.
    max_deliver: -1,
    max_ack_pending: -1,
    max_waiting: WAITING_PULLS_MAX,
    ...(filters.length === 1 ? { filter_subject: filters[0] ?? "" } : { filter_subjects: filters }),
  };
}
