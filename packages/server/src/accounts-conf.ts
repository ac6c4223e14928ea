/** `accounts.conf`: the protocol's tables of accounts and roles, in the words of nats-server. */
import {
  ACCOUNT_NAMES,
  ACCOUNTS,
  type AccountName,
  type Export,
  type Grant,
  importsOf,
  ROLES,
  type Role,
  rolesIn,
} from "@swarm-mesh/protocol";
import { nkeyVariable } from "./users.ts";

const HEADER = `\
# Accounts and users: who may do what. Made from packages/protocol/src/roles.ts and accounts.ts, where
# the same table gives the permissions of a user's JWT; written anew by \`swarmctl keys init\`, so a
# change here is lost.
#
# Every user has an nkey: nobody is anonymous, and no secret is in any file of the server.
#
# Permissions inside one account bind only what a user publishes and subscribes. They do not bind
# where an answer goes: who may ask the server for anything can name any subject as the reply, and
# the server writes the answer there. So whoever is not trusted has an account without JetStream,
# and reaches exactly the services imported into it; an answer then stays in the asker's account.
# What is left of it:
#   - a node can have an answer it asked for appear on another node's subject. So a node refuses
#     every request without the mesh's headers, on all of its subjects, and no service may put
#     \`Mesh-*\` headers into an answer, nor echo those of a request;
#   - admin and viewer are in MESH, so they can have answers written to any subject there. They are
#     people trusted with the whole mesh; a viewer's limits guard against mistakes, not malice.
#
# A user hears answers on \`_INBOX_<name>.>\` alone, so nobody hears another's.

# NKEY_<ROLE>: the public key of each user named below. ISSUER: that of the authenticator's signatures.
include "users.conf"

# Checking an nkey takes under 1 ms, signing in JavaScript up to 60 ms; a herd needs patience.
authorization {
  timeout: 5
  # Whoever is named here is let in by the server alone. Everybody else is asked about: the
  # authenticator answers, and signs who the connection is. Nobody else can: the answer's signature
  # must be of this key.
  auth_callout {
    issuer: $ISSUER
    account: MESH
    auth_users: [ $NKEY_AUTHENTICATOR ]
    # Users that this file names are asked about in these accounts alone, and SYS has none.
    allowed_accounts: [ SYS ]
  }
}

# The account that the server's own events belong to.
system_account: SYS

accounts {
`;

/** The longest line of a comment; a subject is never broken. */
const WIDTH = 100;
/** How far in the subjects of a user stand. */
const DEPTH = 14;

/** The whole file. It includes users.conf and nodes.conf, which hold the keys. */
export function accountsConf(): string {
  return `${HEADER}${ACCOUNT_NAMES.map(account).join("\n")}}\n`;
}

function account(name: AccountName): string {
  const { title, jetstream, exports, limits } = ACCOUNTS[name];
  const imports = importsOf(name);
  return [
    `  # ── ${title} `.padEnd(WIDTH, "─"),
    `  ${name} {`,
    ...(jetstream ? ["    # The only account with storage.", "    jetstream: enabled"] : []),
    ...(limits === undefined
      ? []
      : [
          `    limits { max_connections: ${limits.connections}, max_payload: ${limits.payloadBytes} }`,
        ]),
    ...section(
      "imports",
      imports.map(({ kind, from, subject, tellsWho, as }) => {
        const more = [tellsWho ? ", share: true" : "", as === undefined ? "" : `, to: "${as}"`];
        return [`{ ${kind}: { account: ${from}, subject: "${subject}" }${more.join("")} }`];
      }),
    ),
    ...section("exports", exports.map(exported)),
    ...users(name),
    "  }",
    "",
  ].join("\n");
}

function section(name: string, items: readonly (readonly string[])[]): string[] {
  if (items.length === 0) return [];
  return [`    ${name}: [`, ...indent(6, items.flat()), "    ]"];
}

function exported({ kind, subject, to, why, manyAnswers }: Export): string[] {
  const answers = manyAnswers === undefined ? "" : ", response_type: stream";
  return [...comment(why, 6), `{ ${kind}: "${subject}", accounts: [${to.join(", ")}]${answers} }`];
}

function users(name: AccountName): string[] {
  const roles = rolesIn(name);
  const several = roles.filter((role) => ROLES[role].many);
  if (roles.some((role) => ROLES[role].admitted)) {
    return ["    # Let in by the authenticator alone.", "    users: []"];
  }
  if (several.length > 0) {
    return [`    # users: [ … ], one for each ${several.join(", ")}`, `    include "nodes.conf"`];
  }
  if (roles.length === 0) return ["    users: []"];
  return ["    users: [", ...roles.flatMap((role) => indent(6, user(role))), "    ]"];
}

function user(role: Role): string[] {
  const { what, publish, neverPublish, subscribe } = ROLES[role];
  return [
    `{ # ${role}: ${what}.`,
    `  nkey: $${nkeyVariable(role)}`,
    "  permissions {",
    "    subscribe { allow: [",
    ...indent(6, grants(subscribe(role))),
    "    ] }",
    "    publish {",
    "      allow: [",
    ...indent(8, grants(publish(role))),
    "      ]",
    ...(neverPublish === undefined
      ? []
      : ["      deny: [", ...indent(8, grants(neverPublish(role))), "      ]"]),
    "    }",
    "  }",
    "}",
  ];
}

function grants(all: readonly Grant[]): string[] {
  return all.flatMap(({ why, subjects }) => {
    const quoted = subjects.map((subject) => `"${subject}"`);
    const beside = `${quoted[0]}  # ${why}`;
    // So that what follows does not look as if it were meant too.
    if (why !== undefined && quoted.length === 1 && DEPTH + beside.length <= WIDTH) return [beside];
    return [...comment(why, DEPTH), ...quoted];
  });
}

/** A reason as lines of a comment that stands `depth` columns in. */
function comment(why: string | undefined, depth: number): string[] {
  if (why === undefined) return [];
  const lines: string[] = [];
  let line = "#";
  for (const word of why.split(" ")) {
    if (depth + line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = "#";
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

function indent(depth: number, lines: readonly string[]): string[] {
  return lines.map((line) => " ".repeat(depth) + line);
}
