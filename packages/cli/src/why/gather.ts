/** Gathers what `why` answers from: stored facts, and who answers just now. Changes nothing. */
import { bucketStream } from "@swarm-mesh/bus";
import { MeshClientError } from "@swarm-mesh/client";
import {
  aliveSubject,
  check,
  deadSubject,
  LEASES_BUCKET,
  LIST_SUBJECT,
  type ListTasks,
  MESH_DEAD,
  MESH_EVENTS,
  type NodeRecord,
  type NodeSetting,
  nodeEventSubject,
  nodeLeaseTtlMs,
  nodeSubject,
  Pong,
  TASKS_BUCKET,
  TaskList,
  TaskRecord,
} from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import {
  discover,
  type EventFact,
  eventFact,
  isLiving,
  type LeaderFact,
  type LetterFact,
  LIMITS_DEFAULT,
  letterFact,
  type MeshFacts,
  type NodeFact,
  refusalsIn,
} from "@swarm-mesh/why";
import { z } from "zod";
import { readEntry } from "../entries.ts";
import { type Leases, readLeases, readNodeLease } from "../leases.ts";
import { readNodes } from "../node-records.ts";
import type { Session } from "../session.ts";
import { readSettings } from "../settings.ts";
import { getMessage } from "../stored.ts";

const LEADING_SERVICE = "coordinator";
/** As long as the monitor itself waits for a ping. */
const PING_TIMEOUT_MS = 500;
/** Nodes that are asked whether they are there; those that matter to the question come first. */
const PINGS_MAX = 256;
/** How long services may take to answer discovery when not all kinds of them have. */
const DISCOVERY_MS = 1_000;
const RUNNING_MAX = 1_000;
/** Records that are looked through for refusals, newest first. */
const REFUSALS_LOOKED_AT = 100;

/** The whole mesh; nodes that `matter` are asked first whether they are there. */
export async function readMesh(
  session: Session,
  matter: (record: NodeRecord) => boolean,
): Promise<MeshFacts> {
  const [leases, records, settings, leaseTtlMs] = await Promise.all([
    readLeases(session),
    readNodes(session),
    readSettings(session),
    leaseTtlOf(session),
  ]);
  const [leader, services, nodes, running, newest] = await Promise.all([
    leaderOf(session, leases),
    discover(() => session.nc.requestMany("$SRV.PING", "", { maxWait: DISCOVERY_MS })),
    withAnswers(session, { leases, records, matter, cordoned: settings.cordoned }),
    list(session, { status: "running", limit: RUNNING_MAX }),
    list(session, { limit: REFUSALS_LOOKED_AT }),
  ]);
  const nowMs = systemClock.now();
  const counted = running?.complete === true && running.tasks.length < RUNNING_MAX;
  return {
    nowMs,
    leader,
    services,
    nodes,
    paused: settings.paused,
    running: counted ? running.tasks : undefined,
    refusals: refusalsIn(newest?.tasks ?? [], nowMs),
    limits: { ...LIMITS_DEFAULT, leaseTtlMs },
  };
}

/** A node's lease is longer where leases are stored more than once, as on a cluster. */
async function leaseTtlOf(session: Session): Promise<number> {
  const manager = await session.manager();
  const { config } = await manager.streams.info(bucketStream(LEASES_BUCKET));
  return nodeLeaseTtlMs(config.num_replicas);
}

/** The task's record, from the store itself: so it is to be had when no coordinator runs. */
export async function readRecord(session: Session, id: string): Promise<TaskRecord | undefined> {
  const record = check(TaskRecord, await readEntry(session, TASKS_BUCKET, id));
  return record.ok ? record.value : undefined;
}

/** Has a task whose message is stored neither a node nor an end? */
export async function isWaiting(session: Session, id: string): Promise<boolean> {
  const record = await readRecord(session, id);
  return record === undefined || record.status === "retrying";
}

/** The dead letter of a task. */
export async function readLetter(session: Session, id: string): Promise<LetterFact | undefined> {
  const query = { last_by_subj: deadSubject(id) };
  return letterFact(await getMessage(await session.manager(), MESH_DEAD.name, query));
}

/** The last event of a node that is still stored. */
export async function readEvent(session: Session, id: string): Promise<EventFact | undefined> {
  const query = { last_by_subj: nodeEventSubject(id, "*") };
  return eventFact(await getMessage(await session.manager(), MESH_EVENTS.name, query));
}

async function leaderOf(session: Session, leases: Leases): Promise<LeaderFact | undefined> {
  const lease = leases.leaders.get(LEADING_SERVICE);
  if (lease === undefined) return undefined;
  const subject = aliveSubject(LEADING_SERVICE, lease.instance);
  return { lease, answers: await answers(session, subject, z.unknown(), () => true) };
}

interface Asked {
  readonly leases: Leases;
  readonly records: readonly NodeRecord[];
  readonly matter: (record: NodeRecord) => boolean;
  readonly cordoned: ReadonlyMap<string, NodeSetting>;
}

async function withAnswers(
  session: Session,
  { leases, records, matter, cordoned }: Asked,
): Promise<readonly NodeFact[]> {
  const living = records.filter(isLiving);
  const asked = [...living.filter(matter), ...living.filter((one) => !matter(one))].slice(
    0,
    PINGS_MAX,
  );
  const heard = new Map<string, boolean | undefined>();
  const ping = async (record: NodeRecord): Promise<void> => {
    const isThisLife = (pong: Pong): boolean => pong.incarnation === record.incarnation;
    heard.set(record.id, await answers(session, nodeSubject(record.id, "ping"), Pong, isThisLife));
  };
  const [first, ...rest] = asked;
  if (first !== undefined) await ping(first);
  // Who may not ask the first may ask none.
  if (first !== undefined && heard.get(first.id) !== undefined) await Promise.all(rest.map(ping));
  return Promise.all(
    records.map(async (record) => {
      const seen = leases.nodes.get(record.id);
      // A renewal at that moment may have been missed, so a lease that is not there is looked for.
      const again = seen === undefined && heard.has(record.id);
      const lease = again ? await readNodeLease(session, record.id) : seen;
      const current = lease?.incarnation === record.incarnation ? lease : undefined;
      const { id } = record;
      return { record, lease: current, answers: heard.get(id), cordon: cordoned.get(id) };
    }),
  );
}

/** Is someone there, and the right one? `undefined`: this key may not ask. */
async function answers<S extends z.ZodType>(
  session: Session,
  subject: string,
  schema: S,
  isRight: (answer: z.infer<S>) => boolean,
): Promise<boolean | undefined> {
  try {
    const answer = await session.client.askOnce(subject, {}, schema, {
      timeoutMs: PING_TIMEOUT_MS,
    });
    return answer.kind === "ok" && isRight(answer.value);
  } catch (error) {
    if (error instanceof MeshClientError && error.code === "denied") return undefined;
    throw error;
  }
}

/** Any replica of the coordinator answers; `undefined` when none does, or the answer is too large. */
async function list(session: Session, filter: Partial<ListTasks>): Promise<TaskList | undefined> {
  const { timeoutMs } = session.target;
  const answer = await session.client.askOnce(LIST_SUBJECT, filter, TaskList, { timeoutMs });
  return answer.kind === "ok" ? answer.value : undefined;
}
