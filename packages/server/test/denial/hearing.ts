/** Everything there is to listen to, and who may. See resources.ts. */
import { ACCOUNT_NAMES, ROLE_NAMES, type Role, STREAM_NAMES } from "@swarm-mesh/protocol";
import { covers } from "./model.ts";
import { type Deed, OTHER, publishing, SELF } from "./resources.ts";

const SERVICES: readonly Role[] = ["registry", "coordinator", "health-monitor", "migrator"];

/** Who may hear what; of all else, nobody. */
const HEARERS: readonly (readonly [string, ...Role[]])[] = [
  ["mesh.registry.>", "registry"],
  ["mesh.coordinator.>", "coordinator"],
  ["mesh.tasks.outcome.>", "coordinator"],
  ["mesh.tasks.outcomes.*", "coordinator"],
  ["mesh.tasks.progress.>", "coordinator"],
  ["mesh.tasks.cancel.*", "coordinator"],
  ["mesh.tasks.get.*", "coordinator"],
  ["mesh.tasks.list", "coordinator"],
  ["mesh.tasks.state.*", "coordinator", "migrator", "viewer", "client"],
  ["mesh.tasks.state.>", "coordinator", "migrator", "viewer"],
  ["mesh.nodes.state.>", ...SERVICES, "viewer"],
  ["$SRV.>", ...SERVICES, "authenticator"],
  ["mesh.identity.>", "authenticator"],
  ["$SYS.REQ.USER.AUTH", "authenticator"],
  ["_INBOX.>", "viewer"],
];

/** Everything that can be subscribed: each subject that can be published, and wildcards over them. */
export function subscribing(): readonly Deed[] {
  const wide = [
    ">",
    "*",
    "*.>",
    "mesh.>",
    "mesh.*.>",
    "mesh.tasks.>",
    "mesh.tasks.*.>",
    "mesh.node.>",
  ]
    .concat("mesh.node.*.task", "mesh.node.*.>", "mesh.nodes.>", "mesh.events.>", "mesh.dead.>")
    .concat("$KV.>", "$JS.>", "$JS.API.>", "$JS.ACK.>", "$JS.EVENT.>", "$SYS.>", "$SYS.REQ.>")
    .concat("$SYS.ACCOUNT.>", "_INBOX.*.other", "_R_.>", "$SRV.>")
    .concat(ACCOUNT_NAMES.map((account) => `$SYS.ACCOUNT.${account}.>`))
    .concat(ROLE_NAMES.filter((role) => role !== "node").map((role) => `_INBOX_${role}.>`))
    .concat([SELF, OTHER].flatMap((node) => [`_INBOX_${node}.>`, `mesh.node.${node}.>`]))
    .concat([SELF, OTHER].map((node) => `mesh.registry.register.${node}`))
    .concat("mesh.tasks.state.*", "mesh.tasks.state.>", "mesh.tasks.state.t1.other")
    .concat(STREAM_NAMES.map((stream) => `$JS.ACK.${stream}.>`));
  const subjects = new Set([...publishing().map(({ subject }) => subject), ...wide]);
  return [...subjects].map(deedOf);
}

function deedOf(subject: string): Deed {
  const what = "listening";
  const node = [SELF, OTHER].find(
    (id) => subject.startsWith(`mesh.node.${id}.`) || subject.startsWith(`_INBOX_${id}.`),
  );
  if (node !== undefined) return { what, subject, may: ["admin", "node"], owner: node };
  const own = ROLE_NAMES.find((role) => subject.startsWith(`_INBOX_${role}.`));
  if (own !== undefined) return { what, subject, may: ["admin", own] };
  // The server tells them of connections, whichever account is concerned.
  if (/^\$SYS\.ACCOUNT\.\w+\.(CONNECT|DISCONNECT)$/.test(subject)) {
    const told: Role[] = ["admin", "registry", "coordinator", "health-monitor"];
    const ofNodes = subject === "$SYS.ACCOUNT.NODES.CONNECT";
    return { what, subject, may: ofNodes ? [...told, "authenticator"] : told };
  }
  const hearers = HEARERS.filter(([rule]) => covers(rule, subject)).flatMap(
    ([, ...roles]) => roles,
  );
  return { what, subject, may: ["admin", ...hearers] };
}
