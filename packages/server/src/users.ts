/** The generated part of the server's configuration: public keys, and what each node may do. */
import { ServerError } from "./errors.ts";

/** Users of the account `MESH`. Their permissions are in nats-server.conf. */
export const MESH_ROLES = [
  "registry",
  "coordinator",
  "health-monitor",
  "migrator",
  "admin",
  "viewer",
] as const;
/** Users of the account `CLIENTS`. */
export const CLIENT_ROLES = ["client"] as const;

const HEADER = "# Made from the files in keys/; do not edit. Public keys only.\n";

/** `users.conf`: one variable for each user that nats-server.conf names. */
export function usersConf(publicKeys: Readonly<Record<string, string>>): string {
  const lines = [...MESH_ROLES, ...CLIENT_ROLES].map((role) => {
    const key = publicKeys[role];
    if (key === undefined) throw new ServerError("bad-key", `there is no key for ${role}`);
    return `NKEY_${role.toUpperCase().replaceAll("-", "_")}: "${key}"\n`;
  });
  return HEADER + lines.join("");
}

/** `nodes.conf`: the users of the account `NODES`, each held to its own id. */
export function nodesConf(nodes: Readonly<Record<string, string>>): string {
  const users = Object.entries(nodes).map(([id, key]) => nodeUser(id, key));
  return `${HEADER}users: [\n${users.join("")}]\n`;
}

/**
 * A node may answer what it is asked, once and within five minutes: the server remembers each
 * request until it is answered. What it cannot do is name another node, or read anything.
 */
function nodeUser(id: string, publicKey: string): string {
  const publish = [
    `mesh.registry.register.${id}`,
    `mesh.registry.deregister.${id}`,
    `mesh.coordinator.sync.${id}`,
    `mesh.tasks.outcome.${id}.>`,
    `mesh.tasks.outcomes.${id}`,
    `mesh.tasks.progress.${id}.>`,
    "mesh.tasks.submit.>",
    `$KV.mesh_leases.node.${id}`,
    `$KV.mesh_checkpoints.${id}.>`,
  ];
  const subscribe = [`mesh.node.${id}.>`, `_INBOX_${id}.>`];
  return [
    `  { # ${id}`,
    `    nkey: "${publicKey}"`,
    "    permissions {",
    `      publish { allow: ${list(publish)} }`,
    `      subscribe { allow: ${list(subscribe)} }`,
    '      allow_responses { max: 1, expires: "5m" }',
    "    }",
    "  }",
    "",
  ].join("\n");
}

function list(subjects: readonly string[]): string {
  return `[ ${subjects.map((subject) => `"${subject}"`).join(", ")} ]`;
}
