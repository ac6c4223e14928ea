/** Findings about what is stored, who serves and who works. */
import { isGone, SERVICES } from "@swarm-mesh/protocol";
import { about, type Facts, type Finding, type Level, type Say, type StoreFacts } from "./facts.ts";

/** Group and others. */
const NOT_OWNER = 0o077;
/** Others alone. */
const NOT_GROUP = 0o007;
/** Names that are told; the rest are counted. */
const SHOWN_MAX = 10;

/** What is wrong with a store, without its name: what is wrong with many is said once. */
interface Trouble {
  readonly level: Level;
  readonly says: string;
  readonly remedy: string;
}

/** Are all streams and buckets there, as they must be, with all their copies? */
export function storeFindings(facts: Facts): readonly Finding[] {
  const say = about("stores");
  const { stores } = facts;
  const size = Math.max(1, ...(facts.servers ?? []).map(({ cluster }) => cluster?.size ?? 1));
  const together = new Map<string, Trouble & { readonly names: string[] }>();
  for (const store of stores) {
    for (const trouble of troublesOf(store, size)) {
      const key = `${trouble.level} ${trouble.says}`;
      const known = together.get(key) ?? { ...trouble, names: [] };
      known.names.push(store.name);
      together.set(key, known);
    }
  }
  if (together.size > 0) {
    return [...together.values()].map(({ level, says, remedy, names }) => {
      const who = names.length === stores.length ? `all ${names.length} streams` : list(names);
      return say(level, `${who}: ${says}`, remedy);
    });
  }
  const copies = [...new Set(stores.flatMap(({ found }) => found?.replicas ?? []))]
    .sort()
    .join(" or ");
  const agree = copies === "1" ? "in one copy each" : `in ${copies} copies that agree`;
  return [say("ok", `all ${stores.length} streams and buckets are there, ${agree}`)];
}

function troublesOf({ name, found, problem }: StoreFacts, size: number): readonly Trouble[] {
  if (found === undefined) {
    return problem === undefined
      ? [
          {
            level: "fail",
            says: "not there",
            remedy: "start a service: the first one makes what is missing",
          },
        ]
      : [
          {
            level: "fail",
            says: `no answer: ${problem}`,
            remedy: "does a majority of the servers run?",
          },
        ];
  }
  const troubles: Trouble[] = [];
  if (found.drift.length > 0) {
    const says = `not as the mesh needs it: ${found.drift.join("; ")}`;
    const remedy = `\`nats stream edit ${name}\`; services refuse to start until then`;
    troubles.push({ level: "fail", says, remedy });
  }
  if (size > 1 && found.replicas === 1) {
    const says = `in one copy, on a cluster of ${size}: it goes with its server`;
    troubles.push({ level: "fail", says, remedy: "`nats stream edit <name> --replicas 3`, each" });
  }
  if (found.leader === "") {
    const remedy = "no election has ended it: does a majority of its servers run?";
    troubles.push({ level: "fail", says: "no leader, so no writes", remedy });
  }
  if (found.behind.length > 0) {
    const says = `the copy on ${found.behind.join(", ")} is behind or away`;
    const remedy = "a server that was away catches up by itself; when it does not, see its log";
    troubles.push({ level: "warn", says, remedy });
  }
  return troubles;
}

/** Who serves, in how many replicas, and does anybody lead? */
export function serviceFindings({ services, leases, enrolled }: Facts): readonly Finding[] {
  const say = about("services");
  const findings = SERVICES.flatMap((service) => {
    const count = services[service] ?? 0;
    if (count === 0 && service === "authenticator") return [noAuthenticator(say, enrolled ?? 0)];
    if (count === 0)
      return [say("fail", `no ${service} answers`, `start one: \`swarmctl service ${service}\``)];
    return count === 1 ? [] : [say("ok", `${count} replicas of ${service}`)];
  });
  findings.push(...loneFindings(say, services));
  if (leases === undefined)
    return [...findings, say("unknown", "who leads: the leases do not answer")];
  const leader = leases.leaders.get("coordinator");
  findings.push(
    leader === undefined
      ? say("fail", "no coordinator leads: nothing is placed", "see the coordinators' logs")
      : say("ok", `${leader.instance} leads`),
  );
  return findings;
}

/** Services that run once, in one line: on a mesh of one machine that is each of them. */
function loneFindings(say: Say, services: Facts["services"]): readonly Finding[] {
  const alone = SERVICES.filter((service) => services[service] === 1);
  const [only, second] = alone;
  if (only === undefined) return [];
  return second === undefined
    ? [
        say(
          "warn",
          `one ${only}: nobody takes over at once when it dies`,
          `\`swarmctl service ${only}\` on another machine`,
        ),
      ]
    : [
        say(
          "warn",
          `one each of ${alone.join(", ")}: nobody takes over at once when it dies`,
          "`swarmctl service <name>` on another machine, for each",
        ),
      ];
}

/** A mesh whose nodes are all in the server's configuration can do without one. */
function noAuthenticator(say: Say, enrolled: number): Finding {
  const remedy = "start one: `swarmctl service authenticator`";
  if (enrolled > 0) {
    const says = `no authenticator answers: ${enrolled} enrolled nodes cannot connect again, nor be revoked`;
    return say("fail", says, remedy);
  }
  const says = "no authenticator answers: no node can be let in but by the server's configuration";
  return say("warn", says, `where nodes are to join by token, ${remedy}`);
}

/** Are there nodes, are they well, and does anything wait that none of them offers? */
export function nodeFindings({ nodes, leases, backlog }: Facts): readonly Finding[] {
  const say = about("nodes");
  if (nodes === undefined) return [say("unknown", "the registry does not answer")];
  const living = nodes.filter(({ state }) => !isGone(state));
  const findings: Finding[] = [];
  const active = living.filter(({ state }) => state === "ACTIVE");
  findings.push(
    living.length === 0
      ? say("warn", "there are no nodes: tasks wait", "`swarmctl node run …`")
      : say("ok", `${active.length} of ${living.length} nodes are active`),
  );
  const degraded = living.filter(({ state }) => state === "DEGRADED").map(({ id }) => id);
  if (degraded.length > 0) {
    findings.push(
      say("warn", `degraded, and given nothing: ${list(degraded)}`, "`swarmctl why node <id>`"),
    );
  }
  const without = active.filter(({ id }) => leases !== undefined && !leases.nodes.has(id));
  if (without.length > 0) {
    findings.push(
      say(
        "warn",
        `active without a lease: ${list(without.map(({ id }) => id))}`,
        "`swarmctl why node <id>`",
      ),
    );
  }
  const versions = [...new Set(living.map(({ version }) => version || "(none told)"))].sort();
  if (versions.length > 1) {
    findings.push(say("ok", `nodes of different versions: ${list(versions)}`));
  }
  return [
    ...findings,
    ...waitingFindings(
      say,
      living.flatMap(({ capabilities }) => capabilities),
      backlog,
    ),
  ];
}

function waitingFindings(
  say: Say,
  offered: readonly string[],
  backlog: Facts["backlog"],
): readonly Finding[] {
  if (backlog === undefined) return [say("unknown", "what waits: the streams do not answer")];
  return Object.entries(backlog).flatMap(([capability, count]) =>
    count === 0 || offered.includes(capability)
      ? []
      : [
          say(
            "warn",
            `${count} tasks for ${capability}, which no node offers`,
            `\`swarmctl why capability ${capability}\``,
          ),
        ],
  );
}

/** May others read a file with a secret that lies here? */
export function keyFindings({ secrets }: Facts): readonly Finding[] {
  const say = about("keys");
  if (secrets.length === 0) return [];
  const open = secrets.filter(({ path, mode }) => {
    // The server's user reads its own by its group, on a machine that has one.
    return (mode & (/(routes\.conf|server\.key)$/.test(path) ? NOT_GROUP : NOT_OWNER)) !== 0;
  });
  if (open.length === 0)
    return [say("ok", `${secrets.length} secret files here, for their owner alone`)];
  return open.map(({ path, mode }) =>
    say(
      "fail",
      `${path} can be read by others (mode ${mode.toString(8)})`,
      "chmod 600, and a new key if somebody has",
    ),
  );
}

function list(names: readonly string[]): string {
  const more = names.length - SHOWN_MAX;
  return more > 0 ? `${names.slice(0, SHOWN_MAX).join(", ")} and ${more} more` : names.join(", ");
}
