/**
 * Everything there is to do on the server, and who may do it: the other side of the table of roles.
 *
 * This says what is meant, roles.ts what is granted, and neither is made from the other. A stream
 * that is new, or a role, is in the matrix by itself: nobody has a right that is not written here.
 */
import {
  ACCOUNT_NAMES,
  type AccountName,
  aliveSubject,
  auditSubject,
  BUCKETS,
  cancelSubject,
  checkpointKey,
  deadSubject,
  delayedSubject,
  deregisterSubject,
  getSubject,
  heldSubject,
  IDENTITY_TOKEN_SUBJECT,
  identityAddSubject,
  identityJoinSubject,
  identityRevokeSubject,
  kvSubject,
  LIST_SUBJECT,
  leaderEventSubject,
  leaderLeaseKey,
  moveSubject,
  type NodeVerb,
  nodeEventSubject,
  nodeLeaseKey,
  nodeStateSubject,
  nodeSubject,
  outcomeSubject,
  outcomesSubject,
  progressSubject,
  REGISTRY_FIND_SUBJECT,
  REGISTRY_LIST_SUBJECT,
  ROLE_NAMES,
  type Role,
  RUNNING_SUBJECT,
  registerSubject,
  retrySubject,
  rolesIn,
  SERVERS_SUBJECT,
  STREAM_NAMES,
  submitSubject,
  syncSubject,
  taskStateSubject,
} from "@swarm-mesh/protocol";

/** One thing to do. */
export interface Deed {
  /** What it is, for the title of a test. */
  readonly what: string;
  readonly subject: string;
  /** A node may do it only when the deed is its own: see {@link mayDo}. */
  readonly may: readonly Role[];
  /** Whose it is, where it is a node's. */
  readonly owner?: string;
}

/** The node that the tests act as, and the one it must not touch. */
export const SELF = "n1";
export const OTHER = "n2";

const SERVICES: readonly Role[] = ["registry", "coordinator", "health-monitor", "migrator"];
/** Whoever asks, they answer, and make the stores; the authenticator has nothing to do with tasks. */
const ANSWERING: readonly Role[] = [...SERVICES, "authenticator"];
const TASK = "t1";

/** May a user of `role` do it, `SELF` if it is a node? */
export function mayDo({ may, owner }: Deed, role: Role): boolean {
  if (!may.includes(role)) return false;
  return role !== "node" || owner === undefined || owner === SELF;
}

/** A node's keys, whichever node's: an account is shown all of them, a node is granted its own. */
const OF_ANY_NODE = /^\$KV\.mesh_(leases\.node\.[^.]+|checkpoints\.[^.]+\.[^.]+)$/;

/** A key's question, whosever: likewise. */
const OF_ANY_STRANGER = /^mesh\.identity\.join\.[^.]+$/;

/** May anybody in an account other than the control plane's do it, whatever they are granted? */
export function mayReach({ may, subject }: Deed, account: AccountName): boolean {
  if (account === "NODES" && OF_ANY_NODE.test(subject)) return true;
  if (account === "LOBBY" && OF_ANY_STRANGER.test(subject)) return true;
  return rolesIn(account).some((role) => may.includes(role));
}

/** Everything that can be published. */
export function publishing(): readonly Deed[] {
  const deeds = [
    ...[SELF, OTHER].flatMap((node) => [...saidByNode(node), ...askedOfNode(node)]),
    ...tasks(),
    ...people(),
    ...controlPlane(),
    ...identities(),
    ...inboxes(),
    ...system(),
    ...keys(),
    ...STREAM_NAMES.flatMap((stream) => [...administration(stream), ...consumers(stream)]),
    ...jetStream(),
  ];
  return deeds.map((deed) => (deed.may.includes("admin") ? deed : asAdmin(deed)));
}

/** What an admin may not: speak as the server, and as a node with its task, and take from the audit trail. */
const NOT_EVEN_ADMIN =
  /^\$SYS\.|^mesh\.tasks\.(outcome|outcomes|progress)\.|\.STREAM\.(UPDATE|DELETE|PURGE|RESTORE|MSG\.DELETE)\.MESH_AUDIT$/;

function asAdmin(deed: Deed): Deed {
  return NOT_EVEN_ADMIN.test(deed.subject) ? deed : { ...deed, may: [...deed.may, "admin"] };
}

function saidByNode(owner: string): Deed[] {
  const said = (what: string, subject: string, ...others: Role[]): Deed => ({
    what: `${what} of a node`,
    subject,
    may: ["node", ...others],
    owner,
  });
  return [
    said("the outcome", outcomeSubject(owner, TASK)),
    said("the outcomes", outcomesSubject(owner)),
    said("the progress", progressSubject(owner, TASK)),
    said("the joining", registerSubject(owner)),
    said("the leaving", deregisterSubject(owner)),
    // The control plane's own requests are below mesh.coordinator too.
    said("the sync", syncSubject(owner), "coordinator", "migrator"),
  ];
}

function askedOfNode(node: string): Deed[] {
  const verbs: Readonly<Record<NodeVerb, readonly Role[]>> = {
    task: ["coordinator"],
    tasks: ["coordinator"],
    cancel: ["coordinator"],
    ping: SERVICES,
    drain: [],
  };
  return [
    ...Object.entries(verbs).map(([verb, may]) => ({
      what: `a node's ${verb}`,
      subject: nodeSubject(node, verb as NodeVerb),
      may,
    })),
    { what: "a node's anything", subject: `mesh.node.${node}.other`, may: [] },
    { what: "a node's anything", subject: `mesh.node.${node}.task.other`, may: [] },
  ];
}

function tasks(): Deed[] {
  const submitters: readonly Role[] = ["client", "node", "coordinator"];
  const own: readonly Role[] = ["coordinator"];
  return [
    { what: "a submit", subject: submitSubject("wordcount"), may: submitters },
    { what: "a submit", subject: submitSubject("wordcount", "high"), may: submitters },
    { what: "a retry", subject: retrySubject("wordcount"), may: own },
    { what: "a delayed task", subject: delayedSubject(TASK), may: own },
    { what: "a dead letter", subject: deadSubject(TASK), may: own },
    { what: "the state of a task", subject: taskStateSubject(TASK), may: [] },
    { what: "the state of a node", subject: nodeStateSubject(OTHER), may: [] },
    ...[cancelSubject(TASK), getSubject(TASK), LIST_SUBJECT, outcomesSubject(SELF)]
      .concat(registerSubject(SELF), deregisterSubject(SELF), REGISTRY_LIST_SUBJECT)
      .concat(REGISTRY_FIND_SUBJECT, kvSubject("mesh_leases", nodeLeaseKey(SELF)))
      .concat(kvSubject("mesh_leases", leaderLeaseKey("coordinator")))
      .concat(outcomeSubject(SELF, TASK), progressSubject(SELF, TASK))
      .concat(kvSubject("mesh_checkpoints", checkpointKey(SELF, TASK)))
      .map((subject) => ({
        what: "a subject longer than any",
        subject: `${subject}.other`,
        may: [],
      })),
    {
      what: "a sync longer than any",
      subject: `${syncSubject(SELF)}.other`,
      may: ["coordinator", "migrator"],
    },
    ...["mesh.tasks.other", `mesh.tasks.other.${SELF}`, `$KV.mesh_leases.other.${SELF}`]
      .concat("mesh.other", "mesh.other.other.other", "other")
      .map((subject) => ({ what: "a subject that nobody has", subject, may: [] })),
  ];
}

function people(): Deed[] {
  const ask: readonly Role[] = ["client", "viewer"];
  return [
    { what: "a cancel", subject: cancelSubject(TASK), may: ["client"] },
    { what: "a look at a task", subject: getSubject(TASK), may: ask },
    { what: "the list of tasks", subject: LIST_SUBJECT, may: ask },
    { what: "the list of nodes", subject: REGISTRY_LIST_SUBJECT, may: ask },
    { what: "the search for nodes", subject: REGISTRY_FIND_SUBJECT, may: ask },
    { what: "service discovery", subject: "$SRV.PING", may: ["viewer"] },
    { what: "service discovery", subject: "$SRV.INFO.registry.any", may: ["viewer"] },
  ];
}

function controlPlane(): Deed[] {
  const within: readonly Role[] = ["coordinator", "migrator"];
  return [
    { what: "what a node holds", subject: heldSubject(OTHER), may: within },
    { what: "a move", subject: moveSubject(TASK), may: within },
    { what: "what runs", subject: RUNNING_SUBJECT, may: within },
    { what: "is the leader alive", subject: aliveSubject("coordinator", "c1"), may: within },
    { what: "an event of a node", subject: nodeEventSubject(OTHER, "failed"), may: SERVICES },
    { what: "an event of a leader", subject: leaderEventSubject("coordinator"), may: SERVICES },
    { what: "an entry of tasks", subject: auditSubject("task.submitted"), may: ["coordinator"] },
    { what: "an entry of tasks", subject: auditSubject("task.cancelled"), may: ["coordinator"] },
    { what: "an entry of a key", subject: auditSubject("key.revoked"), may: ["authenticator"] },
    { what: "an entry of a leader", subject: auditSubject("leader.elected"), may: ["coordinator"] },
    ...["task.any.more", "leader.any.more", "key.any.more"].map((action) => ({
      what: "an entry that nobody writes",
      subject: auditSubject(action),
      may: [],
    })),
    { what: "an entry of people", subject: auditSubject("node.drain"), may: [] },
    { what: "a request that the registry has not", subject: "mesh.registry.other", may: [] },
  ];
}

function identities(): Deed[] {
  const deed = (what: string, subject: string, ...may: Role[]): Deed => ({ what, subject, may });
  return [
    // A stranger's name is its key; in the tests it is that of its role.
    deed("the joining of a key", identityJoinSubject("lobby"), "lobby"),
    deed("the joining of another key", identityJoinSubject("other")),
    deed("the adding of a key", identityAddSubject(OTHER)),
    deed("the revoking of a key", identityRevokeSubject(OTHER)),
    deed("a token", IDENTITY_TOKEN_SUBJECT),
    ...[identityJoinSubject("lobby"), IDENTITY_TOKEN_SUBJECT]
      .concat(identityAddSubject(SELF), identityRevokeSubject(SELF))
      .map((subject) => deed("a subject longer than any", `${subject}.other`)),
    deed("a request that the authenticator has not", "mesh.identity.other"),
  ];
}

function inboxes(): Deed[] {
  const names = [...ROLE_NAMES.filter((role) => role !== "node"), SELF, OTHER];
  const served: readonly string[] = rolesIn("MESH");
  return [
    ...names.map((name) => ({
      what: "an inbox",
      subject: `_INBOX_${name}.x`,
      may: served.includes(name) ? ANSWERING : [],
    })),
    { what: "an inbox", subject: "_INBOX.x", may: ANSWERING },
    { what: "an answer to another account", subject: "_R_.x", may: ANSWERING },
    { what: "an answer to the server", subject: "$SYS._INBOX.x", may: ["authenticator"] },
  ];
}

/** By these a connection is found and cut. */
const CUTTING = ["$SYS.REQ.ACCOUNT.NODES.CONNZ", "$SYS.REQ.SERVER.ANY.KICK"];

function system(): Deed[] {
  return [
    ...ACCOUNT_NAMES.flatMap((account) =>
      ["CONNECT", "DISCONNECT"].map((event) => `$SYS.ACCOUNT.${account}.${event}`),
    ),
    ...ACCOUNT_NAMES.map((account) => `$SYS.REQ.ACCOUNT.${account}.CONNZ`),
    "$SYS.REQ.ACCOUNT.NODES.SUBSZ",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.SERVER.ANY.KICK",
    "$SYS.REQ.SERVER.ANY.RELOAD",
    "$SYS.REQ.CLAIMS.UPDATE",
    "$SYS.REQ.USER.AUTH",
    "$SYS.REQ.USER.INFO",
    SERVERS_SUBJECT,
  ].map((subject) => ({
    what: "what is the server's",
    subject,
    may: CUTTING.includes(subject) ? ["authenticator"] : [],
  }));
}

/** Who writes all keys of a bucket. */
const WRITERS: Readonly<Record<string, readonly Role[]>> = {
  mesh_nodes: ["registry", "health-monitor"],
  mesh_tasks: ["coordinator"],
  mesh_identities: ["authenticator"],
  mesh_tokens: ["authenticator"],
};

/** Who writes a key alone. A key of this form in any other bucket is its writers'. */
const KEYS: readonly (Omit<Deed, "subject"> & { readonly bucket: string; readonly key: string })[] =
  [
    ...[SELF, OTHER].flatMap((owner) => [
      {
        what: "the lease of a node",
        bucket: "mesh_leases",
        key: nodeLeaseKey(owner),
        may: ["node" as const],
        owner,
      },
      {
        what: "a checkpoint of a node",
        bucket: "mesh_checkpoints",
        key: checkpointKey(owner, TASK),
        may: ["node" as const],
        owner,
      },
    ]),
    {
      what: "the lease of the leader",
      bucket: "mesh_leases",
      key: leaderLeaseKey("coordinator"),
      may: ["coordinator"],
    },
    {
      what: "the lease of another leader",
      bucket: "mesh_leases",
      key: leaderLeaseKey("other"),
      may: [],
    },
    { what: "any key", bucket: "", key: "other", may: [] },
  ];

function keys(): Deed[] {
  return [...BUCKETS.map(({ name }) => name), "other"].flatMap((bucket) =>
    KEYS.map(({ key, ...deed }) =>
      deed.bucket === bucket
        ? { ...deed, subject: kvSubject(bucket, key) }
        : {
            what: `a key of ${bucket}`,
            subject: kvSubject(bucket, key),
            may: WRITERS[bucket] ?? [],
          },
    ),
  );
}

/** Who may read what a stream holds. */
const READERS: Readonly<Record<string, readonly Role[]>> = {
  KV_mesh_nodes: [...SERVICES, "viewer"],
  KV_mesh_leases: [...SERVICES, "viewer"],
  KV_mesh_tasks: ["registry", "coordinator", "migrator", "viewer"],
  KV_mesh_checkpoints: ["coordinator", "migrator"],
  KV_mesh_settings: ["coordinator", "viewer"],
  KV_mesh_identities: ["authenticator", "viewer"],
  MESH_TASKS: ["coordinator"],
  MESH_RETRIES: ["coordinator"],
  MESH_EVENTS: ["viewer"],
  MESH_DEAD: ["viewer"],
  MESH_AUDIT: ["authenticator", "coordinator", "viewer"],
};

/** Who reads it through the leader alone, key by key. */
const LEADER_READERS: Readonly<Record<string, readonly Role[]>> = {
  KV_mesh_nodes: ["authenticator"],
  KV_mesh_tokens: ["authenticator"],
};

/** Who takes messages out of a stream, one by one. */
const DELETERS: Readonly<Record<string, readonly Role[]>> = {
  MESH_TASKS: ["coordinator"],
  MESH_RETRIES: ["coordinator"],
};

/** What is done to a stream. */
function administration(stream: string): Deed[] {
  const readers = READERS[stream] ?? [];
  const deed = (verb: string, may: readonly Role[]): Deed => ({
    what: `STREAM.${verb} of ${stream}`,
    subject: `$JS.API.STREAM.${verb}.${stream}`,
    may,
  });
  const direct = (subject: string): Deed => ({
    what: `DIRECT.GET of ${stream}`,
    subject: `$JS.API.DIRECT.GET.${subject}`,
    may: readers,
  });
  return [
    deed("CREATE", ANSWERING),
    deed("INFO", [...ANSWERING, "viewer"]),
    ...["UPDATE", "DELETE", "PURGE", "SNAPSHOT", "RESTORE"].map((verb) => deed(verb, [])),
    ...["LEADER.STEPDOWN", "PEER.REMOVE"].map((verb) => deed(verb, [])),
    deed("MSG.GET", [...readers, ...(LEADER_READERS[stream] ?? [])]),
    deed("MSG.DELETE", DELETERS[stream] ?? []),
    direct(stream),
    direct(`${stream}.any.subject`),
    { ...deed("INFO", []), subject: `$JS.API.STREAM.INFO.${stream}.other` },
  ];
}

/** Who makes, pulls from and deletes consumers of a stream. */
const CONSUMERS: Readonly<Record<string, readonly Role[]>> = {
  KV_mesh_nodes: SERVICES,
  KV_mesh_leases: SERVICES,
  KV_mesh_tasks: ["registry", "coordinator", "migrator"],
  KV_mesh_settings: ["coordinator"],
  KV_mesh_identities: ["authenticator"],
  MESH_TASKS: ["coordinator"],
  MESH_RETRIES: ["coordinator"],
  MESH_EVENTS: ["migrator"],
};

/** What is done to the consumers of a stream. */
function consumers(stream: string): Deed[] {
  const may = CONSUMERS[stream] ?? [];
  const watchers: readonly Role[] = READERS[stream]?.includes("viewer") ? [...may, "viewer"] : may;
  const lookers: readonly Role[] = [...may, "viewer"];
  const durable = stream.startsWith("KV_") ? [] : may;
  const at = (what: string, subject: string, who: readonly Role[]): Deed => ({
    what: `CONSUMER.${what} of ${stream}`,
    subject: `$JS.API.CONSUMER.${subject}`,
    may: who,
  });
  return [
    at("CREATE", `CREATE.${stream}`, may),
    at("LIST", `LIST.${stream}`, lookers),
    at("NAMES", `NAMES.${stream}`, lookers),
    ...["LIST", "NAMES", "INFO.any", "DELETE.any"].map((verb) => {
      const [what = "", name] = verb.split(".");
      const subject = [what, stream, name, "other"].filter((word) => word !== undefined);
      return at(what, subject.join("."), may);
    }),
    ...["any", "migrator"].flatMap((name) => {
      // The migrator's durable consumer is its memory: only it touches that.
      const touching = stream === "MESH_EVENTS" && name === "migrator" ? may : watchers;
      return [
        at("CREATE", `CREATE.${stream}.${name}`, touching),
        at("CREATE", `CREATE.${stream}.${name}.any.filter`, touching),
        at("DELETE", `DELETE.${stream}.${name}`, touching),
        at("MSG.NEXT", `MSG.NEXT.${stream}.${name}`, touching),
        at("INFO", `INFO.${stream}.${name}`, lookers),
        at("DURABLE.CREATE", `DURABLE.CREATE.${stream}.${name}`, durable),
        at("MSG.NEXT", `MSG.NEXT.${stream}.${name}.other`, []),
        at("DURABLE.CREATE", `DURABLE.CREATE.${stream}.${name}.other`, []),
        at("LEADER.STEPDOWN", `LEADER.STEPDOWN.${stream}.${name}`, []),
        ...["PAUSE", "RESET", "UNPIN"].map((verb) => at(verb, `${verb}.${stream}.${name}`, may)),
      ];
    }),
    {
      what: `an ack in ${stream}`,
      subject: `$JS.ACK.${stream}.any.1.1.1.1.0`,
      may: durable,
    },
  ];
}

/** What is done to all of JetStream. */
function jetStream(): Deed[] {
  const look: readonly Role[] = [...ANSWERING, "viewer"];
  const deed = (what: string, may: readonly Role[]): Deed => ({
    what,
    subject: `$JS.API.${what}`,
    may,
  });
  return [
    deed("INFO", look),
    deed("STREAM.NAMES", look),
    deed("STREAM.LIST", ["viewer"]),
    deed("STREAM.INFO.OTHER", look),
    ...["CREATE", "UPDATE", "DELETE", "PURGE", "MSG.GET", "MSG.DELETE"].map((verb) =>
      deed(`STREAM.${verb}.OTHER`, []),
    ),
    ...["DIRECT.GET.OTHER", "DIRECT.GET.OTHER.x", "CONSUMER.CREATE.OTHER"].map((what) =>
      deed(what, []),
    ),
    ...["ACCOUNT.PURGE.MESH", "META.LEADER.STEPDOWN", "SERVER.REMOVE"].map((what) =>
      deed(what, []),
    ),
    ...["other", "STREAM.other", "CONSUMER.other", "STREAM.LIST.other"].map((what) =>
      deed(what, []),
    ),
    { what: "flow control", subject: "$JS.FC.KV_mesh_nodes.x", may: look },
  ];
}
