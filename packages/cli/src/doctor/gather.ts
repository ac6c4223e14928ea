/** Asks around. What does not answer in time is told as not known: the doctor never fails for it. */
import { readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { driftOf, isPassing, type WantedStore, wantedStores } from "@swarm-mesh/bus";
import {
  check,
  decode,
  IDENTITIES_BUCKET,
  Identity,
  MESH_RETRIES,
  MESH_TASKS,
  SERVERS_SUBJECT,
  ServicePing,
  tokenOf,
} from "@swarm-mesh/protocol";
import { systemClock, timeOf } from "@swarm-mesh/runtime";
import { createInbox } from "nats";
import { z } from "zod";
import { readEntries } from "../entries.ts";
import { readLeases } from "../leases.ts";
import type { Session } from "../session.ts";
import type { Facts, SecretFile, ServerFacts, StoreFacts } from "./facts.ts";

/** How long answers of several are waited for: the slowest of a cluster takes some milliseconds. */
const ANSWERS_MS = 1_000;

/** The part of a server's VARZ that is read. */
const Varz = z.object({
  server: z.object({ name: z.string() }),
  data: z.object({
    version: z.string(),
    now: z.string(),
    max_payload: z.number(),
    tls_required: z.boolean().default(false),
    jetstream: z
      .object({
        config: z
          .object({
            max_storage: z.number().default(0),
            sync_interval: z.number().default(0),
            sync_always: z.boolean().default(false),
          })
          .optional(),
        stats: z.object({ storage: z.number(), reserved_storage: z.number() }).partial().optional(),
        meta: z.object({ leader: z.string().default(""), cluster_size: z.number() }).optional(),
      })
      .default({}),
  }),
});

/** Asks everybody at once; what several may answer is waited for up to a second. */
export async function gather(session: Session): Promise<Facts> {
  const [servers, stores, services, enrolled, nodes, leases, backlog] = await Promise.all([
    askServers(session),
    askStores(session),
    askServices(session),
    countEnrolled(session).catch(() => undefined),
    session.client.nodes().catch(() => undefined),
    readLeases(session).catch(() => undefined),
    askBacklog(session),
  ]);
  const { nc, target } = session;
  return {
    ...{ servers, stores, services, enrolled, nodes, leases, backlog },
    connected: {
      url: nc.getServer(),
      version: nc.info?.version ?? "",
      clustered: (nc.info?.cluster ?? "") !== "",
      encrypted: nc.info?.tls_required === true,
      maxPayloadBytes: nc.info?.max_payload ?? 0,
    },
    secrets: target.nkey === undefined ? [] : secretsBeside(target.nkey),
  };
}

/** What every server says of itself; `undefined`: we may not ask, or nobody answers. */
async function askServers(session: Session): Promise<readonly ServerFacts[] | undefined> {
  const found = new Map<string, ServerFacts>();
  const sentMs = systemClock.now();
  await collect(session, SERVERS_SUBJECT, (data) => {
    const varz = decode(Varz, data);
    if (varz.ok) found.set(varz.value.server.name, serverOf(varz.value, sentMs, systemClock.now()));
  });
  return found.size === 0 ? undefined : [...found.values()].sort(byName);
}

function serverOf(
  { server, data }: z.infer<typeof Varz>,
  sentMs: number,
  heardMs: number,
): ServerFacts {
  const { config, stats, meta } = data.jetstream;
  const store = config && {
    syncIntervalMs: config.sync_always ? 0 : config.sync_interval / 1e6,
    usedBytes: stats?.storage ?? 0,
    limitBytes: config.max_storage,
    reservedBytes: stats?.reserved_storage ?? 0,
  };
  return {
    name: nameOf(server.name),
    version: data.version,
    store,
    cluster: meta && { size: meta.cluster_size, leader: meta.leader },
    maxPayloadBytes: data.max_payload,
    tls: data.tls_required,
    // It looked at its clock at some moment between our asking and our hearing.
    clock: { aheadMs: timeOf(data.now) - (sentMs + heardMs) / 2, errorMs: (heardMs - sentMs) / 2 },
  };
}

/** A server that was given no name has its key for one, which nobody reads to its end. */
function nameOf(name: string): string {
  return /^N[A-Z2-7]{55}$/.test(name) ? `${name.slice(0, 8)}…` : name;
}

async function askStores(session: Session): Promise<readonly StoreFacts[]> {
  const manager = await session.manager();
  const ask = async (wanted: WantedStore): Promise<StoreFacts> => {
    const { name } = wanted;
    try {
      const { config, cluster } = await manager.streams.info(name);
      const { num_replicas: _replicas, ...rest } = wanted;
      const behind = (cluster?.replicas ?? [])
        .filter(({ current, offline }) => !current || offline === true)
        .map((replica) => nameOf(replica.name));
      const leader = cluster === undefined ? undefined : (cluster.leader ?? "");
      const found = { replicas: config.num_replicas, drift: driftOf(rest, config), leader, behind };
      return { name, found, problem: undefined };
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      const missing = !isPassing(error) && /stream not found/i.test(problem);
      return { name, found: undefined, problem: missing ? undefined : problem };
    }
  };
  return Promise.all(wantedStores(1).map(ask));
}

async function askServices(session: Session): Promise<Readonly<Record<string, number>>> {
  const seen = new Map<string, string>();
  await collect(session, "$SRV.PING", (data) => {
    const ping = decode(ServicePing, data);
    if (ping.ok) seen.set(ping.value.id, ping.value.name);
  });
  const counts: Record<string, number> = {};
  for (const name of seen.values()) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

/** Nodes that connect by the authenticator's word. */
async function countEnrolled(session: Session): Promise<number> {
  const entries = await readEntries(session, IDENTITIES_BUCKET);
  return entries.filter(([, value]) => {
    const identity = check(Identity, value);
    return identity.ok && identity.value.revokedAt === null;
  }).length;
}

/** Tasks in the streams, by capability: those that wait and those that run. */
async function askBacklog(session: Session): Promise<Readonly<Record<string, number>> | undefined> {
  try {
    const manager = await session.manager();
    const counts: Record<string, number> = {};
    for (const { name } of [MESH_TASKS, MESH_RETRIES]) {
      const { state } = await manager.streams.info(name, { subjects_filter: ">" });
      for (const [subject, count] of Object.entries(state.subjects ?? {})) {
        // A delayed message has no capability in its subject.
        if (tokenOf(subject, 2) === "delayed") continue;
        const capability = tokenOf(subject, 3);
        counts[capability] = (counts[capability] ?? 0) + count;
      }
    }
    return counts;
  } catch {
    // The stores say what is wrong with them.
    return undefined;
  }
}

/** Requests `subject` and hands over every answer that comes in time. */
async function collect(
  { nc, target }: Session,
  subject: string,
  onAnswer: (data: Uint8Array) => void,
): Promise<void> {
  const inbox = createInbox(target.inboxPrefix);
  const subscription = nc.subscribe(inbox, {
    callback: (error, message) => {
      if (error === null && message.data.length > 0) onAnswer(message.data);
    },
  });
  nc.publish(subject, "", { reply: inbox });
  await systemClock.sleep(ANSWERS_MS);
  subscription.unsubscribe();
}

/** Seeds, the issuer's, the routes' password and TLS keys in the directory of the key that is used. */
function secretsBeside(nkey: string): readonly SecretFile[] {
  const keys = dirname(nkey);
  const paths = [
    ...readdirSync(keys)
      .filter((name) => name.endsWith(".nk") || name.endsWith(".seed"))
      .map((name) => join(keys, name)),
    ...["routes.conf", "tls/ca.key", "tls/server.key"].map((name) => join(keys, "..", name)),
  ];
  return paths.flatMap((path) => {
    const found = statSync(path, { throwIfNoEntry: false });
    return found === undefined ? [] : [{ path, mode: found.mode & 0o777 }];
  });
}

function byName(left: ServerFacts, right: ServerFacts): number {
  return left.name.localeCompare(right.name, "en");
}
