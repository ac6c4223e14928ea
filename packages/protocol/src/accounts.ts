/**
 * The accounts of a mesh, and what one shows to another.
 *
 * Who is not trusted with JetStream is in an account without it, and reaches exactly the services
 * exported to that account. An import is the mirror of an export, so only exports are written down.
 */

import { CHECKPOINTS_BUCKET, LEASES_BUCKET } from "./stores.ts";
import {
  cancelSubject,
  checkpointKey,
  connectionsSubject,
  deregisterSubject,
  getSubject,
  identityJoinSubject,
  kickSubject,
  kvSubject,
  LIST_SUBJECT,
  nodeLeaseKey,
  outcomeSubject,
  outcomesSubject,
  progressSubject,
  REGISTRY_FIND_SUBJECT,
  REGISTRY_LIST_SUBJECT,
  registerSubject,
  SERVERS_SUBJECT,
  SUBMIT_ALL,
  syncSubject,
  taskStateSubject,
} from "./subjects.ts";

/**
 * Where users are: the server's own account, the control plane's, the nodes', the clients', and that
 * of those who are nobody yet.
 */
export type AccountName = "SYS" | "MESH" | "NODES" | "CLIENTS" | "LOBBY";

/** What an account lets others reach: a service to ask, or a stream to listen to. */
export interface Export {
  readonly kind: "service" | "stream";
  readonly subject: string;
  readonly to: readonly AccountName[];
  /** Is who asks told, by the server? It costs the server 5 µs a request (measured). */
  readonly tellsWho?: true;
  /** Of a service: may one request be answered by several? The server then remembers it for longer. */
  readonly manyAnswers?: true;
  /** By which name the others reach it; left out: by its own. */
  readonly as?: string;
  /** The reason, said once for it and for those that follow without one. */
  readonly why?: string;
}

/** An account. */
export interface AccountSpec {
  /** What it is for, as a title. */
  readonly title: string;
  /** Has it storage? */
  readonly jetstream: boolean;
  readonly exports: readonly Export[];
  /** What all its users together may have, where strangers are. */
  readonly limits?: { readonly connections: number; readonly payloadBytes: number };
}

const forNodes = (subject: string): Export => ({ kind: "service", subject, to: ["NODES"] });
const forClients = (subject: string): Export => ({ kind: "service", subject, to: ["CLIENTS"] });
const event = (account: AccountName, kind: "CONNECT" | "DISCONNECT"): Export => ({
  kind: "stream",
  subject: `$SYS.ACCOUNT.${account}.${kind}`,
  to: ["MESH"],
});

/** Every account, by its name. */
export const ACCOUNTS: Readonly<Record<AccountName, AccountSpec>> = {
  SYS: {
    title: "The server's own: it has no users, nobody needs system rights",
    jetstream: false,
    exports: [
      {
        ...event("NODES", "CONNECT"),
        why:
          "Who connected and who is gone, a few milliseconds after the fact. No user may publish " +
          "where it arrives.",
      },
      event("NODES", "DISCONNECT"),
      event("MESH", "CONNECT"),
      event("MESH", "DISCONNECT"),
      {
        kind: "service",
        subject: connectionsSubject("NODES"),
        to: ["MESH"],
        manyAnswers: true,
        why: "Nodes that are connected, and the end of one connection: for the authenticator.",
      },
      { kind: "service", subject: kickSubject("*"), to: ["MESH"] },
      {
        kind: "service",
        subject: "$SYS.REQ.SERVER.PING.VARZ",
        as: SERVERS_SUBJECT,
        manyAnswers: true,
        to: ["MESH"],
        why:
          "What each server says of itself: version, sync interval, quorum, limits, clock; it holds no " +
          "secret. For `swarmctl doctor`: of all roles only the admin may ask.",
      },
    ],
  },
  MESH: {
    title: "The control plane, and the people who run it",
    jetstream: true,
    exports: [
      {
        ...forNodes(registerSubject("*")),
        why: "For nodes. The node's id is in each subject; each node is granted only its own.",
      },
      forNodes(deregisterSubject("*")),
      forNodes(syncSubject("*")),
      forNodes(outcomeSubject("*", "*")),
      forNodes(outcomesSubject("*")),
      forNodes(progressSubject("*", "*")),
      forNodes(kvSubject(LEASES_BUCKET.name, nodeLeaseKey("*"))),
      forNodes(kvSubject(CHECKPOINTS_BUCKET.name, checkpointKey("*", "*"))),
      {
        kind: "service",
        subject: SUBMIT_ALL,
        to: ["NODES", "CLIENTS"],
        why: "For both: a running task may submit tasks.",
      },
      {
        ...forClients(cancelSubject("*")),
        tellsWho: true,
        why: "For clients. Who cancels is told, for the audit trail.",
      },
      forClients(getSubject("*")),
      forClients(LIST_SUBJECT),
      forClients(REGISTRY_LIST_SUBJECT),
      forClients(REGISTRY_FIND_SUBJECT),
      {
        kind: "service",
        subject: identityJoinSubject("*"),
        to: ["LOBBY"],
        why: "For strangers: the key that each has proved to hold is in the subject.",
      },
      {
        kind: "stream",
        subject: taskStateSubject("*"),
        to: ["CLIENTS"],
        why: "Each accepted change of a task's record.",
      },
    ],
  },
  NODES: {
    title: "Nodes: they run tasks, and are not trusted with each other's",
    jetstream: false,
    exports: [
      {
        kind: "service",
        subject: "mesh.node.>",
        to: ["MESH"],
        why:
          'Requests to nodes: task, ping, drain, cancel. A node that is gone answers "no ' +
          'responders" within a millisecond. One answer to a request: with `response_type: stream` ' +
          "the server remembers each for 2 minutes (86 MB for 100 000).",
      },
    ],
  },
  CLIENTS: {
    title: "Clients: they submit tasks and ask after them",
    jetstream: false,
    exports: [],
  },
  LOBBY: {
    title: "Strangers: they ask to be let in, and hear why they are not",
    jetstream: false,
    exports: [],
    // A crowd of them must leave room for nodes; each stays for seconds.
    limits: { connections: 512, payloadBytes: 4_096 },
  },
};

/** The names of all accounts. */
export const ACCOUNT_NAMES = Object.keys(ACCOUNTS) as readonly AccountName[];

/** What an account reaches of others: the exports that name it, each with the account it is from. */
export function importsOf(name: AccountName): readonly (Export & { readonly from: AccountName })[] {
  return ACCOUNT_NAMES.flatMap((from) =>
    ACCOUNTS[from].exports
      .filter(({ to }) => to.includes(name))
      .map((exported) => ({ ...exported, from })),
  );
}
