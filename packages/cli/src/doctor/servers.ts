/** Findings about the servers: how many, which, how durable, what time they have. */
import { atLeast, isThisMachine, SERVER_VERSION_MIN } from "@swarm-mesh/bus";
import { PAYLOAD_MAX_BYTES, type ServiceName } from "@swarm-mesh/protocol";
import { bytes } from "../output.ts";
import { about, type Facts, type Finding, type Say, type ServerFacts } from "./facts.ts";

/** From which a task of full size fits, with headers and checkpoint, on its way to a node. */
const PAYLOAD_ADVISED_BYTES = 2 * PAYLOAD_MAX_BYTES;
/** A power failure may cost what was acknowledged within it. */
const SYNC_ADVISED_MS = 1_000;
const STORE_WARN_SHARE = 0.8;
const STORE_FAIL_SHARE = 0.95;
/** Clocks are for people alone: nothing is decided by them, but times in records confuse. */
const SKEW_WARN_MS = 1_000;

/**
 * Is there what an election may explain, of servers or coordinators? Then it is over within seconds,
 * and nothing is to be mended. Without a majority there is none.
 */
export function mayBeElecting({
  servers,
  connected,
  stores,
  services,
  leases,
  nodes,
}: Facts): boolean {
  const clusters = (servers ?? []).flatMap(({ cluster }) => cluster ?? []);
  const size = Math.max(1, ...clusters.map((cluster) => cluster.size));
  if (servers !== undefined && servers.length < Math.floor(size / 2) + 1) return false;
  const known = clusters.some(({ leader }) => leader !== "");
  const leaderless = servers !== undefined && connected.clustered && !known;
  const unled = stores.some(({ found }) => found?.leader === "");
  const lives = (service: ServiceName): boolean => (services[service] ?? 0) > 0;
  const silent =
    stores.some(({ problem }) => problem !== undefined) ||
    leases?.leaders.has("coordinator") !== true;
  // To a key that may ask nobody, nobody answers.
  return (
    leaderless ||
    unled ||
    (silent && lives("coordinator")) ||
    (nodes === undefined && lives("registry"))
  );
}

/** How many servers there are and may be lost; their versions, limits and encryption. */
export function serverFindings(facts: Facts): readonly Finding[] {
  const say = about("servers");
  const { servers, connected } = facts;
  if (servers === undefined) {
    const remedy =
      "ask with the admin's key; a mesh of an earlier version needs `keys init` and a reload";
    return [
      version(say, [connected.version]),
      ...payload(say, connected.maxPayloadBytes),
      say("unknown", "this key may not ask the servers about themselves", remedy),
      ...encryption(say, connected.encrypted, connected.url),
    ];
  }
  return [
    ...majority(say, servers),
    version(
      say,
      servers.map((server) => server.version),
    ),
    ...servers.flatMap(({ name, store }) =>
      store === undefined
        ? [say("warn", `${name} has no JetStream, so it stores nothing`, "enable it in its conf")]
        : [],
    ),
    ...payload(say, Math.min(...servers.map(({ maxPayloadBytes }) => maxPayloadBytes))),
    ...encryption(say, connected.encrypted, connected.url),
  ];
}

/** How many servers there are, how many answer, and how many more may be lost. */
function majority(say: Say, servers: readonly ServerFacts[]): readonly Finding[] {
  const names = servers.map(({ name }) => name).join(", ");
  const size = Math.max(...servers.map(({ cluster }) => cluster?.size ?? 1));
  if (size === 1) {
    return [say("ok", `one server, ${names}: while it is down everything stands still`)];
  }
  const needed = Math.floor(size / 2) + 1;
  const spare = servers.length - needed;
  const leader = servers.find(({ cluster }) => cluster !== undefined && cluster.leader !== "");
  const there = `${servers.length} of ${size} servers answer: ${names}`;
  const findings: Finding[] = [];
  if (spare < 0) {
    const remedy = `start the others: ${needed} of ${size} are needed. Nothing stored is lost meanwhile`;
    return [say("fail", `${there}; without a majority the mesh is read-only`, remedy)];
  }
  if (spare === 0) {
    findings.push(say("warn", `${there}; none of them may be lost now`, "start the others"));
  } else if (servers.length < size) {
    findings.push(say("warn", `${there}; ${spare} more may be lost`, "start the others"));
  } else findings.push(say("ok", `${there}; ${spare} may be lost`));
  if (size % 2 === 0) {
    const remedy = `remove one, or add one: ${size - 1} bear as many losses as ${size}`;
    findings.push(say("warn", `an even number of servers, ${size}`, remedy));
  }
  findings.push(
    leader === undefined
      ? say("fail", "the cluster has no leader", "no election has ended it: see their logs")
      : say("ok", `${leader.cluster?.leader} leads the cluster`),
  );
  return findings;
}

function version(say: Say, versions: readonly string[]): Finding {
  const all = [...new Set(versions)].sort();
  const old = all.filter((one) => !atLeast(one, SERVER_VERSION_MIN));
  if (old.length > 0) {
    return say("fail", `nats-server ${old.join(", ")}`, `the mesh needs ${SERVER_VERSION_MIN}`);
  }
  if (all.length > 1) {
    const remedy = "fine during a rolling upgrade; else bring all to the newest";
    return say("warn", `nats-servers of different versions: ${all.join(", ")}`, remedy);
  }
  return say("ok", `nats-server ${all.join(", ")}`);
}

function payload(say: Say, max: number): readonly Finding[] {
  if (max >= PAYLOAD_ADVISED_BYTES) return [];
  const says = `max_payload is ${bytes(max)}`;
  const remedy = "set max_payload: 2MB, or the largest tasks cannot be carried to a node";
  return [say(max < PAYLOAD_MAX_BYTES ? "fail" : "warn", says, remedy)];
}

function encryption(say: Say, encrypted: boolean, url: string): readonly Finding[] {
  if (encrypted) return [say("ok", "this connection is encrypted")];
  if (isThisMachine(url)) return [say("ok", "no TLS, and none is needed on this machine alone")];
  return [say("warn", `the connection to ${url} is not encrypted`, "`swarmctl keys init --tls`")];
}

/** What a power failure may cost, and how much room there is. */
export function durabilityFindings({ servers }: Facts): readonly Finding[] {
  const say = about("durability");
  if (servers === undefined)
    return [say("unknown", "sync interval and room: only servers can tell")];
  return servers.flatMap(({ name, store }) => {
    if (store === undefined) return [];
    const { syncIntervalMs, usedBytes, limitBytes } = store;
    const seconds = syncIntervalMs / 1_000;
    const alone = servers.every(({ cluster }) => cluster === undefined);
    const cost = alone ? "may cost" : "may cost this copy";
    const slow = syncIntervalMs > SYNC_ADVISED_MS;
    const share = limitBytes > 0 ? usedBytes / limitBytes : 0;
    const room = `${bytes(usedBytes)} of ${bytes(limitBytes)} stored`;
    const full = share >= STORE_FAIL_SHARE ? "fail" : share >= STORE_WARN_SHARE ? "warn" : "ok";
    return [
      syncIntervalMs === 0
        ? say("ok", `${name} writes to its disk before it acknowledges`)
        : say(
            slow ? "warn" : "ok",
            `${name} writes to its disk every ${seconds} s: a power failure ${cost} as much`,
            ...(slow ? ["set sync_interval in nats-server.conf"] : []),
          ),
      say(
        full,
        `${name} has ${room} (whether its disk has that room, df on that machine says)`,
        ...(full === "ok"
          ? []
          : ["give it a larger disk and max_file: a full store takes no task"]),
      ),
    ];
  });
}

/** Are the servers' clocks right, by this machine's? */
export function clockFindings({ servers }: Facts): readonly Finding[] {
  const say = about("clocks");
  if (servers === undefined) return [say("unknown", "the servers' clocks: only they can tell")];
  return servers.map(({ name, clock }) => {
    const { aheadMs, errorMs } = clock;
    const off = Math.max(0, Math.abs(aheadMs) - errorMs);
    const side = aheadMs > 0 ? "ahead of" : "behind";
    const measured = `${Math.abs(Math.round(aheadMs))} ms ${side} this machine's, to within ${Math.ceil(errorMs)} ms`;
    return off > SKEW_WARN_MS
      ? say(
          "warn",
          `${name}'s clock is ${measured}`,
          "set both by NTP: leases do not mind, retries are late or early by it",
        )
      : say(
          "ok",
          `${name}'s clock is this machine's, to within ${Math.ceil(Math.abs(aheadMs) + errorMs)} ms`,
        );
  });
}
