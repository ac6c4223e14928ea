/** The limits of the mesh, each with what happens at it. Every one is bytes, counts or milliseconds. */

/** A task's body. Beyond it the task is rejected with `payload_too_large`. */
export const PAYLOAD_MAX_BYTES = 1024 * 1024;
/** Room for headers beside a full body; beyond the sum the server refuses the publish. */
export const SUBMIT_MAX_BYTES = PAYLOAD_MAX_BYTES + 64 * 1024;
/** A result, as JSON. Beyond it the task fails with `payload_too_large`. */
export const RESULT_MAX_BYTES = 1024 * 1024;
/** What a handler reports as progress, as JSON. Beyond it the report is dropped. */
export const PROGRESS_MAX_BYTES = 64 * 1024;
/** A checkpoint. Beyond it the node refuses to save it; larger state goes by reference. */
export const CHECKPOINT_MAX_BYTES = 512 * 1024;
/** Capabilities one node may offer; a registration with more is refused. */
export const NODE_CAPABILITIES_MAX = 256;
/** Slots of one node, the sum over its agents; a registration with more is refused. */
export const NODE_SLOTS_MAX = 1_000;
/** Nodes in one mesh; the registry refuses the next one. */
export const NODES_MAX = 10_000;
/** Tasks running at once; the coordinator pulls no more until one ends. */
export const RUNNING_MAX = 100_000;
/** Tries a task may ask for. */
export const ATTEMPTS_MAX = 100;
/** Tries when `Mesh-Max-Attempts` is not given. */
export const ATTEMPTS_DEFAULT = 3;
/** Nodes a task may lose before it fails with `too_many_losses`. */
export const LOSSES_MAX = 10;
/** Limit of one try when `Mesh-Timeout` is not given: 5 minutes. */
export const TIMEOUT_DEFAULT_MS = 300_000;
/** A node's lease on one server, and therefore how long a frozen node is trusted. Whole seconds. */
export const NODE_LEASE_TTL_MS = 6_000;
/** The leader's lease on one server. */
const LEADER_LEASE_TTL_MS = 3_000;
/** Every lease on a cluster: its store may be without a leader for 8 s, and no lease may end by that. */
export const CLUSTER_LEASE_TTL_MS = 12_000;

/** A node's lease where everything is stored `replicas` times. */
export function nodeLeaseTtlMs(replicas: number): number {
  return replicas > 1 ? CLUSTER_LEASE_TTL_MS : NODE_LEASE_TTL_MS;
}

/** The leader's lease where everything is stored `replicas` times. */
export function leaderLeaseTtlMs(replicas: number): number {
  return replicas > 1 ? CLUSTER_LEASE_TTL_MS : LEADER_LEASE_TTL_MS;
}
