/**
 * Who may do what: one table, from which come nats-server's configuration, the permissions in a
 * user's JWT, and the tests of what is refused.
 *
 * Permissions inside one account bind only what a user publishes and subscribes. They do not bind
 * where an answer goes: who may ask the server for anything can name any subject as the reply, and
 * the server writes the answer there. So whoever is not trusted is in an account without JetStream
 * (accounts.ts), and an answer stays in the asker's account.
 *
 * A list that is empty would mean everything, to the server: every role publishes and hears something.
 */
import type { AccountName } from "./accounts.ts";
import {
  ACROSS_ACCOUNTS,
  because,
  COMMAND_INBOX,
  CONNECT_EVENTS,
  consume,
  DISCONNECT_EVENTS,
  DISCOVERY,
  deleteFrom,
  ENSURE_STORES,
  FLOW_CONTROL,
  forEach,
  type Grant,
  group,
  inboxOf,
  ownConsumers,
  plain,
  readAndWatch,
  readFromLeader,
  readFromReplica,
  SERVER_INBOX,
} from "./grants.ts";
import {
  CHECKPOINTS_BUCKET,
  IDENTITIES_BUCKET,
  LEASES_BUCKET,
  MESH_AUDIT,
  MESH_DEAD,
  MESH_EVENTS,
  MESH_RETRIES,
  MESH_TASKS,
  NODES_BUCKET,
  SETTINGS_BUCKET,
  TASKS_BUCKET,
  TOKENS_BUCKET,
} from "./stores.ts";
import {
  AUTH_CALLOUT_SUBJECT,
  auditSubject,
  cancelSubject,
  checkpointKey,
  connectEventSubject,
  connectionsSubject,
  DEAD_ALL,
  DELAYED_ALL,
  deregisterSubject,
  EVENTS_ALL,
  getSubject,
  identityJoinSubject,
  kickSubject,
  kvSubject,
  LIST_SUBJECT,
  leaderLeaseKey,
  nodeLeaseKey,
  nodeStateSubject,
  nodeSubject,
  outcomeSubject,
  outcomesSubject,
  progressSubject,
  REGISTRY_FIND_SUBJECT,
  REGISTRY_LIST_SUBJECT,
  RETRY_ALL,
  registerSubject,
  SUBMIT_ALL,
  syncSubject,
  taskStateSubject,
} from "./subjects.ts";

/** A kind of user. */
export interface RoleSpec {
  readonly account: AccountName;
  /** What its users do, in one sentence. */
  readonly what: string;
  /** Are there several, each with an id of its own? Of every other role there is one, named for it. */
  readonly many?: true;
  /** Let in by the authenticator alone, never by the server's configuration. */
  readonly admitted?: true;
  readonly publish: (id: string) => readonly Grant[];
  /** Taken out of what {@link publish} grants. */
  readonly neverPublish?: (id: string) => readonly Grant[];
  readonly subscribe: (id: string) => readonly Grant[];
  /** How often, and for how many milliseconds, it may answer each request that it hears. */
  readonly allowResponses?: { readonly max: number; readonly expiresMs: number };
}

/** Nodes, leases and tasks: what services look at. */
const LOOKED_AT = [NODES_BUCKET, LEASES_BUCKET, TASKS_BUCKET];
/** What people look at: not the bodies of tasks, nor checkpoints. */
const SHOWN = [
  ...[...LOOKED_AT, SETTINGS_BUCKET, IDENTITIES_BUCKET],
  ...[MESH_EVENTS, MESH_DEAD, MESH_AUDIT],
];

const WHO_IS_CONNECTED = plain(CONNECT_EVENTS, DISCONNECT_EVENTS);
const NODE_STATES = plain(nodeStateSubject(">"));
const TASK_STATES = plain(taskStateSubject(">"));

/**
 * The inboxes of everybody who may ask a service. Written out instead of `allow_responses`, which
 * would remember every message delivered, each JetStream delivery too, for as long as it may be
 * answered.
 */
const answers = (): Grant =>
  because(
    "Answers.",
    ACROSS_ACCOUNTS,
    COMMAND_INBOX,
    ...rolesIn("MESH").map((role) => inboxOf(role)),
  );

const audits = (...actions: readonly string[]): Grant =>
  group(
    "The audit trail: its own entries, and what the last of all was.",
    plain(...actions.map(auditSubject)),
    readFromLeader(MESH_AUDIT),
    readFromReplica(MESH_AUDIT),
  );

const SPECS = {
  registry: {
    account: "MESH",
    what: "writes node records when nodes come and go",
    subscribe: (id) => [
      plain(inboxOf(id)),
      because("Service discovery.", DISCOVERY),
      because("Its requests.", "mesh.registry.>"),
      NODE_STATES,
      WHO_IS_CONNECTED,
    ],
    publish: () => [
      plain(nodeSubject("*", "ping"), EVENTS_ALL, kvSubject(NODES_BUCKET.name, ">")),
      ENSURE_STORES,
      ...readAndWatch(
        "Read nodes, leases and tasks: from the leader, from any replica, by watching.",
        LOOKED_AT,
      ),
      answers(),
    ],
  },

  coordinator: {
    account: "MESH",
    what: "routes tasks; the only writer of task records",
    subscribe: (id) => [
      plain(inboxOf(id), DISCOVERY),
      because("Its requests, from nodes and the migrator.", "mesh.coordinator.>"),
      plain(
        "mesh.tasks.outcome.>",
        outcomesSubject("*"),
        "mesh.tasks.progress.>",
        cancelSubject("*"),
        getSubject("*"),
        LIST_SUBJECT,
      ),
      TASK_STATES,
      NODE_STATES,
      because("A leader or a node that is gone.", ...WHO_IS_CONNECTED.subjects),
    ],
    publish: () => [
      plain(
        nodeSubject("*", "task"),
        nodeSubject("*", "tasks"),
        nodeSubject("*", "cancel"),
        nodeSubject("*", "ping"),
      ),
      because(
        "A follower asks the leader, a candidate whether one is there.",
        "mesh.coordinator.>",
      ),
      plain(
        SUBMIT_ALL,
        RETRY_ALL,
        DELAYED_ALL,
        DEAD_ALL,
        EVENTS_ALL,
        kvSubject(TASKS_BUCKET.name, ">"),
        kvSubject(LEASES_BUCKET.name, leaderLeaseKey("coordinator")),
      ),
      audits("task.*", "leader.*"),
      ENSURE_STORES,
      group(
        "Its consumers of waiting tasks, one a capability and lane. A new leader makes them anew: " +
          "what the leader before it had in hand comes again.",
        forEach([MESH_TASKS, MESH_RETRIES], consume),
      ),
      group(
        "A cancelled task is taken out of the queue, and its delayed message.",
        forEach([MESH_TASKS, MESH_RETRIES], readFromLeader, readFromReplica, deleteFrom),
      ),
      group(
        "Checkpoints go along when a task moves.",
        readFromLeader(CHECKPOINTS_BUCKET),
        readFromReplica(CHECKPOINTS_BUCKET),
      ),
      ...readAndWatch("Read and watch nodes, leases, tasks and what operators have set.", [
        ...LOOKED_AT,
        SETTINGS_BUCKET,
      ]),
      answers(),
    ],
  },

  "health-monitor": {
    account: "MESH",
    what: "judges who is alive, and writes it into node records",
    subscribe: (id) => [
      plain(inboxOf(id), DISCOVERY),
      NODE_STATES,
      because("The fast hint that a node is gone.", ...WHO_IS_CONNECTED.subjects),
    ],
    publish: () => [
      because("The question that confirms it.", nodeSubject("*", "ping")),
      plain(EVENTS_ALL, kvSubject(NODES_BUCKET.name, ">")),
      ENSURE_STORES,
      ...readAndWatch("Read and watch nodes and leases.", [NODES_BUCKET, LEASES_BUCKET]),
      answers(),
    ],
  },

  migrator: {
    account: "MESH",
    what: "hears that a node failed, and has its tasks placed again",
    subscribe: (id) => [plain(inboxOf(id), DISCOVERY), NODE_STATES, TASK_STATES],
    publish: () => [
      because("What did that node have; place it again.", "mesh.coordinator.>"),
      plain(nodeSubject("*", "ping"), EVENTS_ALL),
      ENSURE_STORES,
      group("Its durable consumer of events.", consume(MESH_EVENTS)),
      group(
        "Read checkpoints.",
        readFromLeader(CHECKPOINTS_BUCKET),
        readFromReplica(CHECKPOINTS_BUCKET),
      ),
      ...readAndWatch("Read and watch nodes, leases and tasks.", LOOKED_AT),
      answers(),
    ],
  },

  authenticator: {
    account: "MESH",
    what: "says who may connect that the configuration does not name, and cuts who no longer may",
    subscribe: (id) => [
      plain(inboxOf(id), DISCOVERY),
      because("The server asks it.", AUTH_CALLOUT_SUBJECT),
      because("Its requests, from people and from the lobby.", "mesh.identity.>"),
      because("A connection that was revoked while it was made.", connectEventSubject("NODES")),
    ],
    publish: () => [
      because("Answers to the server.", SERVER_INBOX),
      because("Cut a connection.", connectionsSubject("NODES"), kickSubject("*")),
      plain(kvSubject(IDENTITIES_BUCKET.name, ">"), kvSubject(TOKENS_BUCKET.name, ">")),
      ENSURE_STORES,
      ...readAndWatch("Read and watch identities.", [IDENTITIES_BUCKET]),
      group(
        "Is a token good; has an id a node already?",
        forEach([TOKENS_BUCKET, NODES_BUCKET], readFromLeader),
      ),
      audits("key.*"),
      answers(),
    ],
  },

  admin: {
    account: "MESH",
    what: "people who repair. All of MESH, but not in the name of the server or of a node",
    subscribe: () => [plain(">")],
    publish: () => [plain(">")],
    neverPublish: () => [
      because("Where the server's events arrive.", "$SYS.>"),
      because(
        "What only nodes say.",
        "mesh.tasks.outcome.>",
        "mesh.tasks.outcomes.>",
        "mesh.tasks.progress.>",
      ),
      because(
        "What would take from the audit trail, or make room for another.",
        ...["DELETE", "PURGE", "MSG.DELETE", "UPDATE", "RESTORE"].map(
          (verb) => `$JS.API.STREAM.${verb}.${MESH_AUDIT.name}`,
        ),
      ),
    ],
  },

  viewer: {
    account: "MESH",
    what: "people and programs that look: `nats kv`, `nats stream`, `nats micro`, dashboards",
    subscribe: (id) => [
      plain(inboxOf(id)),
      because("So that the `nats` command needs no option.", COMMAND_INBOX),
      TASK_STATES,
      NODE_STATES,
    ],
    publish: () => [
      plain(getSubject("*"), LIST_SUBJECT, REGISTRY_LIST_SUBJECT, REGISTRY_FIND_SUBJECT, DISCOVERY),
      plain(
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.LIST",
        "$JS.API.STREAM.INFO.*",
        "$JS.API.CONSUMER.NAMES.*",
        "$JS.API.CONSUMER.LIST.*",
        "$JS.API.CONSUMER.INFO.*.*",
      ),
      group(
        "Records, leases, settings, events and dead letters; not the bodies of tasks or checkpoints.",
        forEach(SHOWN, readFromLeader, readFromReplica),
      ),
      group(
        "A watch is a consumer of one's own, deleted at its end. (That could delete the watch of a " +
          "service too, which would start it again.)",
        forEach(SHOWN, ownConsumers),
      ),
      plain(FLOW_CONTROL),
    ],
    neverPublish: () => [
      because(
        "The migrator's durable consumer, which is its memory: creating it anew would change it, " +
          "and pulling from it would rob it.",
        ...["CREATE", "DELETE", "MSG.NEXT"].map(
          (verb) => `$JS.API.CONSUMER.${verb}.${MESH_EVENTS.name}.migrator`,
        ),
        `$JS.API.CONSUMER.CREATE.${MESH_EVENTS.name}.migrator.>`,
      ),
    ],
  },

  node: {
    account: "NODES",
    what: "runs tasks. It cannot name another node, nor read anything",
    many: true,
    subscribe: (id) => [plain(`mesh.node.${id}.>`, inboxOf(id))],
    publish: (id) => [
      plain(
        registerSubject(id),
        deregisterSubject(id),
        syncSubject(id),
        outcomeSubject(id, "*"),
        outcomesSubject(id),
        progressSubject(id, "*"),
        SUBMIT_ALL,
        kvSubject(LEASES_BUCKET.name, nodeLeaseKey(id)),
        kvSubject(CHECKPOINTS_BUCKET.name, checkpointKey(id, "*")),
      ),
    ],
    // Once, within five minutes: the server remembers each request until it is answered.
    allowResponses: { max: 1, expiresMs: 300_000 },
  },

  lobby: {
    account: "LOBBY",
    what: "asks to be let in, as the holder of one key",
    many: true,
    admitted: true,
    subscribe: (key) => [plain(inboxOf(key))],
    publish: (key) => [plain(identityJoinSubject(key))],
  },

  client: {
    account: "CLIENTS",
    what: "submits tasks and asks after them",
    subscribe: (id) => [plain(inboxOf(id), taskStateSubject("*"))],
    publish: () => [
      plain(
        SUBMIT_ALL,
        cancelSubject("*"),
        getSubject("*"),
        LIST_SUBJECT,
        REGISTRY_LIST_SUBJECT,
        REGISTRY_FIND_SUBJECT,
      ),
    ],
  },
} as const satisfies Readonly<Record<string, RoleSpec>>;

/** The name of a role. */
export type Role = keyof typeof SPECS;

/** Every role, by its name. */
export const ROLES: Readonly<Record<Role, RoleSpec>> = SPECS;

/** The names of all roles. */
export const ROLE_NAMES = Object.keys(SPECS) as readonly Role[];

/** The roles whose users are in an account. */
export function rolesIn(account: AccountName): readonly Role[] {
  return ROLE_NAMES.filter((role) => ROLES[role].account === account);
}
