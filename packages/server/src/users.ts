/** The part of the server's configuration that is made from keys: who there is, by public key. */
import {
  type Permissions,
  permissionsOf,
  ROLE_NAMES,
  ROLES,
  type Role,
} from "@swarm-mesh/protocol";
import { ServerError } from "./errors.ts";

/** Users that every mesh has one of, beside its nodes: each is named for its role. */
export const USERS: readonly Role[] = ROLE_NAMES.filter((role) => ROLES[role].many === undefined);

const HEADER = "# Made from the files in keys/; do not edit. Public keys only.\n";

/** The variable that holds the public key of a role's user. */
export function nkeyVariable(role: Role): string {
  return `NKEY_${role.toUpperCase().replaceAll("-", "_")}`;
}

/** `users.conf`: one variable for each key that accounts.conf names. */
export function usersConf(publicKeys: Readonly<Record<string, string>>, issuer: string): string {
  const lines = USERS.map((role) => {
    const key = publicKeys[role];
    if (key === undefined) throw new ServerError("bad-key", `there is no key for ${role}`);
    return `${nkeyVariable(role)}: "${key}"\n`;
  });
  return `${HEADER}${lines.join("")}ISSUER: "${issuer}"\n`;
}

/** `nodes.conf`: the users of the account `NODES`, each held to its own id. */
export function nodesConf(nodes: Readonly<Record<string, string>>): string {
  const users = Object.entries(nodes).map(([id, key]) => nodeUser(id, key));
  return `${HEADER}users: [\n${users.join("")}]\n`;
}

function nodeUser(id: string, publicKey: string): string {
  const { publish, subscribe, allowResponses } = permissionsOf("node", id);
  return [
    `  { # ${id}`,
    `    nkey: "${publicKey}"`,
    "    permissions {",
    `      publish { allow: ${list(publish.allow)} }`,
    `      subscribe { allow: ${list(subscribe.allow)} }`,
    ...(allowResponses === undefined ? [] : [`      ${responses(allowResponses)}`]),
    "    }",
    "  }",
    "",
  ].join("\n");
}

function responses({ max, expiresMs }: NonNullable<Permissions["allowResponses"]>): string {
  return `allow_responses { max: ${max}, expires: "${expiresMs / 1_000}s" }`;
}

function list(subjects: readonly string[]): string {
  return `[ ${subjects.map((subject) => `"${subject}"`).join(", ")} ]`;
}
