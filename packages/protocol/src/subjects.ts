/**
 * Every subject of the mesh, once, its literal form above its builder.
 *
 * Ids are checked where they enter (see names.ts); the builders only put them together. A builder
 * takes `"*"` or `">"` where a subscription wants a wildcard.
 */
import type { Lane } from "./names.ts";

// ── Tasks ───────────────────────────────────────────────────────────────────────────────────────

// mesh.tasks.submit.<capability> | mesh.tasks.submit.<capability>.<lane>
export const submitSubject = (capability: string, lane?: Lane): string =>
  lane === undefined
    ? `mesh.tasks.submit.${capability}`
    : `mesh.tasks.submit.${capability}.${lane}`;
// mesh.tasks.submit.>
export const SUBMIT_ALL = "mesh.tasks.submit.>";
// mesh.tasks.retry.<capability>                  written by the server when a delayed task is due
export const retrySubject = (capability: string): string => `mesh.tasks.retry.${capability}`;
// mesh.tasks.retry.>
export const RETRY_ALL = "mesh.tasks.retry.>";
// mesh.tasks.delayed.<task>                      a scheduled message; the control plane's own
export const delayedSubject = (taskId: string): string => `mesh.tasks.delayed.${taskId}`;
// mesh.tasks.delayed.>
export const DELAYED_ALL = "mesh.tasks.delayed.>";
// mesh.tasks.outcome.<node>.<task>               request; answered OutcomeAnswer
export const outcomeSubject = (nodeId: string, taskId: string): string =>
  `mesh.tasks.outcome.${nodeId}.${taskId}`;
// mesh.tasks.outcomes.<node>                     request OutcomeBatch; answered OutcomeBatchAnswer
export const outcomesSubject = (nodeId: string): string => `mesh.tasks.outcomes.${nodeId}`;
// mesh.tasks.progress.<node>.<task>              may be lost
export const progressSubject = (nodeId: string, taskId: string): string =>
  `mesh.tasks.progress.${nodeId}.${taskId}`;
// mesh.tasks.cancel.<task>                       request; answered with the record
export const cancelSubject = (taskId: string): string => `mesh.tasks.cancel.${taskId}`;
// mesh.tasks.get.<task>                          request; answered with the record
export const getSubject = (taskId: string): string => `mesh.tasks.get.${taskId}`;
// mesh.tasks.list                                request; answered TaskList
export const LIST_SUBJECT = "mesh.tasks.list";
// mesh.tasks.state.<task>                        republished by the server: each accepted record
export const taskStateSubject = (taskId: string): string => `mesh.tasks.state.${taskId}`;
// mesh.dead.<task>
export const deadSubject = (taskId: string): string => `mesh.dead.${taskId}`;
// mesh.dead.>
export const DEAD_ALL = "mesh.dead.>";

// ── Nodes ───────────────────────────────────────────────────────────────────────────────────────

/** What may be asked of a node. */
export type NodeVerb = "task" | "tasks" | "ping" | "drain" | "cancel";
// mesh.node.<node>.task|ping|drain|cancel        requests to the node
// mesh.node.<node>.tasks                         several tasks in one message; see batch.ts
export const nodeSubject = (nodeId: string, verb: NodeVerb | "*"): string =>
  `mesh.node.${nodeId}.${verb}`;
// mesh.registry.register.<node>                  request; answered Welcome
export const registerSubject = (nodeId: string): string => `mesh.registry.register.${nodeId}`;
// mesh.registry.deregister.<node>                request; answered with the record
export const deregisterSubject = (nodeId: string): string => `mesh.registry.deregister.${nodeId}`;
// mesh.registry.list                             request; answered NodeList
export const REGISTRY_LIST_SUBJECT = "mesh.registry.list";
// mesh.registry.find                             request FindNodes; answered NodeList
export const REGISTRY_FIND_SUBJECT = "mesh.registry.find";
// mesh.nodes.state.<node>                        republished by the server: each accepted record
export const nodeStateSubject = (nodeId: string): string => `mesh.nodes.state.${nodeId}`;

// ── Coordinator: for nodes and the migrator ─────────────────────────────────────────────────────

// mesh.coordinator.sync.<node>                   request SyncRequest; answered SyncAnswer
export const syncSubject = (nodeId: string): string => `mesh.coordinator.sync.${nodeId}`;
// mesh.coordinator.held.<node>                   request HeldRequest; answered Held
export const heldSubject = (nodeId: string): string => `mesh.coordinator.held.${nodeId}`;
// mesh.coordinator.move.<task>                   request MoveRequest; answered MoveAnswer
export const moveSubject = (taskId: string): string => `mesh.coordinator.move.${taskId}`;
// mesh.coordinator.running                       request ListTasks; answered TaskList, of what runs
export const RUNNING_SUBJECT = "mesh.coordinator.running";

// mesh.<service>.alive.<instance>                request; answered by a leader that lives
export const aliveSubject = (service: string, instance: string): string =>
  `mesh.${service}.alive.${instance}`;

// ── Identities: see identity.ts ─────────────────────────────────────────────────────────────────

// mesh.identity.join.<key>                       request JoinRequest, from the lobby; answered JoinAnswer
export const identityJoinSubject = (publicKey: string): string => `mesh.identity.join.${publicKey}`;
// mesh.identity.add.<node>                       request AddRequest; answered with the identity
export const identityAddSubject = (nodeId: string): string => `mesh.identity.add.${nodeId}`;
// mesh.identity.revoke.<node>                    request RevokeRequest; answered RevokeAnswer
export const identityRevokeSubject = (nodeId: string): string => `mesh.identity.revoke.${nodeId}`;
// mesh.identity.token                            request TokenRequest; answered TokenAnswer
export const IDENTITY_TOKEN_SUBJECT = "mesh.identity.token";

// ── Events ──────────────────────────────────────────────────────────────────────────────────────

/** A node's transitions, by name. */
export type NodeEventKind = "joined" | "degraded" | "recovered" | "failed" | "leaving" | "left";
// mesh.events.node.<node>.<kind>
export const nodeEventSubject = (nodeId: string, kind: NodeEventKind | "*"): string =>
  `mesh.events.node.${nodeId}.${kind}`;
// mesh.events.leader.<service>
export const leaderEventSubject = (service: string): string => `mesh.events.leader.${service}`;
// mesh.events.>
export const EVENTS_ALL = "mesh.events.>";

// mesh.audit.<thing>.<deed>                      an entry of the audit trail: mesh.audit.node.drain
export const auditSubject = (action: string): string => `mesh.audit.${action}`;
// mesh.audit.>
export const AUDIT_ALL = "mesh.audit.>";

// mesh.servers.varz                              what every server says of itself: SYS' own request, imported
export const SERVERS_SUBJECT = "mesh.servers.varz";

// $SYS.ACCOUNT.<account>.DISCONNECT              imported from SYS; nobody of the mesh may publish it
export const disconnectEventSubject = (account: string): string =>
  `$SYS.ACCOUNT.${account}.DISCONNECT`;

// ── The server's own: see docs.nats.io, "System Events" and "Auth Callout" ──────────────────────

// $SYS.ACCOUNT.<account>.CONNECT
export const connectEventSubject = (account: string): string => `$SYS.ACCOUNT.${account}.CONNECT`;
// $SYS.REQ.USER.AUTH                             the server asks who may connect
export const AUTH_CALLOUT_SUBJECT = "$SYS.REQ.USER.AUTH";
// $SYS.REQ.ACCOUNT.<account>.CONNZ               who is connected; each server of a cluster answers
export const connectionsSubject = (account: string): string => `$SYS.REQ.ACCOUNT.${account}.CONNZ`;
// $SYS.REQ.SERVER.<server>.KICK                  closes one connection
export const kickSubject = (serverId: string): string => `$SYS.REQ.SERVER.${serverId}.KICK`;

// ── Keys and the subjects beneath them ──────────────────────────────────────────────────────────

// $KV.<bucket>.<key>
export const kvSubject = (bucket: string, key: string): string => `$KV.${bucket}.${key}`;
// node.<node>            in mesh_leases
export const nodeLeaseKey = (nodeId: string): string => `node.${nodeId}`;
// leader.<service>       in mesh_leases
export const leaderLeaseKey = (service: string): string => `leader.${service}`;
// capability.<capability>  in mesh_settings
export const capabilitySettingKey = (capability: string): string => `capability.${capability}`;
// node.<node>            in mesh_settings
export const nodeSettingKey = (nodeId: string): string => `node.${nodeId}`;
// <node>.<task>          in mesh_checkpoints
export const checkpointKey = (nodeId: string, taskId: string): string => `${nodeId}.${taskId}`;

/** The token at `index` of a subject, `""` when there is none. */
export function tokenOf(subject: string, index: number): string {
  return subject.split(".")[index] ?? "";
}

/** The last token of a subject. */
export function lastTokenOf(subject: string): string {
  return subject.slice(subject.lastIndexOf(".") + 1);
}
