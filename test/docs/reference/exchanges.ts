/**
 * Everything that is said over the mesh, once: who sends it where, with which body, and what is
 * answered. Subjects come from their builders and bodies from their schemas; a new subject needs a
 * row here.
 */
import {
  aliveSubject,
  auditSubject,
  CHECKPOINTS_BUCKET,
  cancelSubject,
  checkpointKey,
  deadSubject,
  delayedSubject,
  deregisterSubject,
  getSubject,
  Header,
  heldSubject,
  IDENTITY_TOKEN_SUBJECT,
  identityAddSubject,
  identityJoinSubject,
  identityRevokeSubject,
  kvSubject,
  type Lane,
  LEASES_BUCKET,
  LIST_SUBJECT,
  leaderEventSubject,
  moveSubject,
  type NodeEventKind,
  nodeEventSubject,
  nodeLeaseKey,
  nodeStateSubject,
  nodeSubject,
  outcomeSubject,
  outcomesSubject,
  progressSubject,
  REGISTRY_FIND_SUBJECT,
  REGISTRY_LIST_SUBJECT,
  RUNNING_SUBJECT,
  registerSubject,
  retrySubject,
  SERVERS_SUBJECT,
  SUBMIT_HEADERS,
  submitSubject,
  syncSubject,
  taskStateSubject,
} from "@swarm-mesh/protocol";

/** Who speaks. `mesh` is the control plane, or the server for it. */
type Party = "client" | "node" | "mesh";

/** The name of a schema of the protocol, or a body that has none. */
type Body = "bytes" | "empty" | "PubAck" | (string & {});

export interface Exchange {
  readonly id: string;
  /** The subject, with `{node}` for what stands there. */
  readonly address: string;
  readonly summary: string;
  /** Who sends it; `control-plane` says it to itself. */
  readonly from: Party;
  readonly to: Party;
  readonly body: Body;
  readonly headers?: readonly string[];
  /** What is answered when it is carried out; without it there is no answer. */
  readonly answer?: Body;
}

const node = "{node}";
const task = "{task}";
const capability = "{capability}";
const submitHeaders = [Header.msgId, ...SUBMIT_HEADERS];
const taskHeaders = [Header.taskId, Header.attempt, Header.epoch, Header.incarnation];

const FOR_CLIENTS: readonly Exchange[] = [
  row("submit", submitSubject(capability), "client → mesh", "Submit a task in the lane `normal`", {
    body: "bytes",
    headers: submitHeaders,
    answer: "PubAck",
  }),
  row(
    "submitInLane",
    submitSubject(capability, "{lane}" as Lane),
    "client → mesh",
    "Submit a task in a lane: `high`, `normal`, `low`",
    { body: "bytes", headers: submitHeaders, answer: "PubAck" },
  ),
  row("getTask", getSubject(task), "client → mesh", "The record of a task", {
    answer: "TaskRecord",
  }),
  row("cancelTask", cancelSubject(task), "client → mesh", "Cancel a task", {
    answer: "TaskRecord",
  }),
  row("listTasks", LIST_SUBJECT, "client → mesh", "List tasks, newest change first", {
    body: "ListTasks",
    answer: "TaskList",
  }),
  row("listNodes", REGISTRY_LIST_SUBJECT, "client → mesh", "List nodes", { answer: "NodeList" }),
  row(
    "findNodes",
    REGISTRY_FIND_SUBJECT,
    "client → mesh",
    "Nodes that are active, offer a capability and have labels",
    { body: "FindNodes", answer: "NodeList" },
  ),
  row("taskState", taskStateSubject(task), "mesh → client", "Each accepted record of a task", {
    body: "TaskRecord",
  }),
  row("nodeState", nodeStateSubject(node), "mesh → client", "Each accepted record of a node", {
    body: "NodeRecord",
  }),
];

const FROM_NODES: readonly Exchange[] = [
  row("register", registerSubject(node), "node → mesh", "Join: a new life of the node begins", {
    body: "Registration",
    answer: "Welcome",
  }),
  row("deregister", deregisterSubject(node), "node → mesh", "Leave, in two phases", {
    body: "Deregistration",
    answer: "NodeRecord",
  }),
  row(
    "sync",
    syncSubject(node),
    "node → mesh",
    "What every node may know: who leads, who is there",
    {
      body: "SyncRequest",
      answer: "SyncAnswer",
    },
  ),
  row(
    "renewLease",
    kvSubject(LEASES_BUCKET.name, nodeLeaseKey(node)),
    "node → mesh",
    "Take and renew the node's lease: READY, then alive",
    {
      body: "NodeLease",
      headers: ["Nats-TTL", "Nats-Expected-Last-Subject-Sequence"],
      answer: "PubAck",
    },
  ),
  row(
    "checkpoint",
    kvSubject(CHECKPOINTS_BUCKET.name, checkpointKey(node, task)),
    "node → mesh",
    "Save a task's state for its next try",
    { body: "bytes", headers: [Header.attempt], answer: "PubAck" },
  ),
  row("progress", progressSubject(node, task), "node → mesh", "How far a task is; may be lost", {
    body: "Progress",
  }),
  row("outcome", outcomeSubject(node, task), "node → mesh", "What became of a try", {
    body: "Outcome",
    answer: "OutcomeAnswer",
  }),
  row("outcomes", outcomesSubject(node), "node → mesh", "What became of several tries", {
    body: "OutcomeBatch",
    answer: "OutcomeBatchAnswer",
  }),
];

const TO_NODES: readonly Exchange[] = [
  row("dispatch", nodeSubject(node, "task"), "mesh → node", "Run a task", {
    body: "bytes",
    headers: [...taskHeaders, Header.capability, Header.checkpoint, ...SUBMIT_HEADERS],
    answer: "DispatchAnswer",
  }),
  row(
    "dispatchBatch",
    nodeSubject(node, "tasks"),
    "mesh → node",
    "Run tasks: a line of JSON, a list of `TaskHead`, then their payloads",
    { body: "bytes", headers: [Header.epoch, Header.incarnation] },
  ),
  row("ping", nodeSubject(node, "ping"), "mesh → node", "Is this life of the node there?", {
    answer: "Pong",
  }),
  row("drain", nodeSubject(node, "drain"), "mesh → node", "Take nothing new, finish, leave", {
    body: "DrainOrder",
    answer: "Draining",
  }),
  row("cancelOnNode", nodeSubject(node, "cancel"), "mesh → node", "Stop a task", {
    body: "CancelOrder",
    answer: "Cancelled",
  }),
];

const CONTROL_PLANE: readonly Exchange[] = [
  row("retry", retrySubject(capability), "mesh → mesh", "A task's next try, when it is due", {
    body: "bytes",
    headers: [Header.taskId, Header.attempt, Header.lane, Header.submittedAt, ...SUBMIT_HEADERS],
  }),
  row("delayed", delayedSubject(task), "mesh → mesh", "A scheduled message: the next try", {
    body: "bytes",
  }),
  row("held", heldSubject(node), "mesh → mesh", "Which tasks that life of a node has", {
    body: "HeldRequest",
    answer: "Held",
  }),
  row("running", RUNNING_SUBJECT, "mesh → mesh", "What runs, as the leader has it in hand", {
    body: "ListTasks",
    answer: "TaskList",
  }),
  row("move", moveSubject(task), "mesh → mesh", "Place a task again, away from a node", {
    body: "MoveRequest",
    answer: "MoveAnswer",
  }),
  row(
    "alive",
    aliveSubject("{service}", "{instance}"),
    "mesh → mesh",
    "Is this replica there, and does it lead?",
    { answer: "Alive" },
  ),
  row("servers", SERVERS_SUBJECT, "mesh → mesh", "What each nats-server says of itself", {
    answer: "bytes",
  }),
  row(
    "nodeEvent",
    nodeEventSubject(node, "{kind}" as NodeEventKind),
    "mesh → mesh",
    "A node's state changed",
    { body: "NodeEvent" },
  ),
  row("leaderEvent", leaderEventSubject("{service}"), "mesh → mesh", "A service's leader changed", {
    body: "LeaderEvent",
  }),
  row("auditEntry", auditSubject("{thing}.{deed}"), "mesh → mesh", "Who did what", {
    body: "AuditEntry",
  }),
  row("deadLetter", deadSubject(task), "mesh → mesh", "A task that was given up", {
    body: "bytes",
    headers: [
      ...[Header.taskId, Header.capability, Header.lane, Header.submittedAt],
      ...[Header.status, Header.error, Header.tries],
    ],
  }),
];

const IDENTITIES: readonly Exchange[] = [
  row("join", identityJoinSubject("{key}"), "node → mesh", "In the lobby: let me in, or why not?", {
    body: "JoinRequest",
    answer: "JoinAnswer",
  }),
  row("addKey", identityAddSubject(node), "client → mesh", "Let a node in by its key", {
    body: "AddRequest",
    answer: "Identity",
  }),
  row("revokeKey", identityRevokeSubject(node), "client → mesh", "Shut a node out, and cut it", {
    body: "RevokeRequest",
    answer: "RevokeAnswer",
  }),
  row("joinToken", IDENTITY_TOKEN_SUBJECT, "client → mesh", "Make a token that lets one node in", {
    body: "TokenRequest",
    answer: "TokenAnswer",
  }),
];

export const EXCHANGES: readonly Exchange[] = [
  ...FOR_CLIENTS,
  ...FROM_NODES,
  ...TO_NODES,
  ...CONTROL_PLANE,
  ...IDENTITIES,
];

/** Answers so small that the protocol has no schema for them. */
export const SMALL_ANSWERS: Readonly<Record<string, object>> = {
  PubAck: {
    description: "JetStream's answer: stored, or an error of the store.",
    type: "object",
    properties: {
      stream: { type: "string" },
      seq: { type: "integer" },
      duplicate: { type: "boolean" },
      error: {
        type: "object",
        properties: {
          code: { type: "integer" },
          err_code: { type: "integer" },
          description: { type: "string" },
        },
      },
    },
  },
  Draining: flag("draining"),
  Cancelled: flag("cancelled"),
  Alive: {
    type: "object",
    description: "The term of a coordinator that leads, 0 when it follows.",
    properties: { epoch: { type: "integer" } },
    required: ["epoch"],
  },
};

function flag(name: string): object {
  return { type: "object", properties: { [name]: { type: "boolean" } }, required: [name] };
}

function row(
  id: string,
  address: string,
  way: `${Party} → ${Party}`,
  summary: string,
  more: Partial<Pick<Exchange, "body" | "headers" | "answer">>,
): Exchange {
  const [from, to] = way.split(" → ") as [Party, Party];
  return { id, address, from, to, summary, body: "empty", ...more };
}
