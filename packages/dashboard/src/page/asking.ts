/** Gathers what `why` answers from: what the page follows anyway, and who answers just now. */
import {
  aliveSubject,
  decode,
  encode,
  LIST_SUBJECT,
  type ListTasks,
  nodeSubject,
  Pong,
  TaskList,
} from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import {
  type Answer,
  discover,
  isLiving,
  type Kind,
  type LaneFact,
  type LeaderFact,
  LIMITS_DEFAULT,
  laneOf,
  type MeshFacts,
  type NodeFact,
  refusalsIn,
  whyCapability,
  whyNode,
  whyTask,
} from "@swarm-mesh/why";
import { leaderAt, leaseTtlOf, type NodeView, viewsOf } from "./fleet.ts";
import type { MeshView } from "./mesh-view.ts";
import { findQueued, readEvent, readLetter, readRecord } from "./reading.ts";
import { readDepths } from "./sounding.ts";

/** As long as the monitor itself waits for a ping. */
const PING_TIMEOUT_MS = 500;
const PINGS_MAX = 128;
const DISCOVERY_MS = 600;
const LIST_TIMEOUT_MS = 3_000;
const RUNNING_MAX = 1_000;
const REFUSALS_LOOKED_AT = 100;
const LEADING_SERVICE = "coordinator";

/** Answers one question. Rejects when the store or the link does not answer. */
export async function answerTo(view: MeshView, kind: Kind, id: string): Promise<Answer> {
  switch (kind) {
    case "task":
      return answerTask(view, id);
    case "node": {
      const [event, mesh] = await Promise.all([readEvent(view.manager, id), readMesh(view, [id])]);
      return whyNode({ id, mesh, event });
    }
    case "capability": {
      const mesh = await readMesh(view, offering(view, id));
      return whyCapability({ capability: id, mesh, lanes: await lanesOf(view, id, mesh) });
    }
  }
}

async function answerTask(view: MeshView, id: string): Promise<Answer> {
  const { manager } = view;
  const [record, letter] = await Promise.all([readRecord(manager, id), readLetter(manager, id)]);
  const waits = record === undefined || record.status === "retrying";
  const { queued, search } =
    waits && view.link.mayAct ? await findQueued(manager, id) : NOT_LOOKED_FOR;
  const capability = record?.capability ?? queued?.capability;
  const mesh = await readMesh(view, [record?.node ?? "", ...offering(view, capability ?? "")]);
  const lanes = waits && capability !== undefined ? await lanesOf(view, capability, mesh) : [];
  // What was read first may be old by now: a record that came meanwhile is the truth.
  const later = waits ? await readRecord(manager, id) : record;
  return whyTask({ id, mesh, record: later, letter, queued, search, lanes });
}

/** A viewer may not read the queue. */
const NOT_LOOKED_FOR = {
  queued: undefined,
  search: { complete: false, lookedAt: 0, permitted: false },
};

function offering(view: MeshView, capability: string): readonly string[] {
  return [...view.nodes.values()]
    .filter(({ capabilities }) => capabilities.includes(capability))
    .map(({ id }) => id);
}

/** The whole mesh; nodes that `matter` are asked first whether they are there. */
async function readMesh(view: MeshView, matter: readonly string[]): Promise<MeshFacts> {
  const nodes = viewsOf(view.nodesInOrder(), view.nodeLeases, systemClock.elapsed());
  const [leader, services, answers, running, newest] = await Promise.all([
    leaderOf(view),
    discover(() => view.link.nc.requestMany("$SRV.PING", "", { maxWait: DISCOVERY_MS })),
    ping(view, nodes, matter),
    list(view, { status: "running", limit: RUNNING_MAX }),
    list(view, { limit: REFUSALS_LOOKED_AT }),
  ]);
  const nowMs = systemClock.now();
  const counted = running?.complete === true && running.tasks.length < RUNNING_MAX;
  return {
    nowMs,
    leader,
    services,
    nodes: nodes.map(
      ({ record, lease }): NodeFact => ({
        ...{ record, lease, answers: answers.get(record.id) },
        cordon: view.cordoned.get(record.id),
      }),
    ),
    paused: view.paused,
    running: counted ? running.tasks : undefined,
    refusals: refusalsIn(newest?.tasks ?? [], nowMs),
    limits: { ...LIMITS_DEFAULT, leaseTtlMs: leaseTtlOf(view.nodeLeases.values()) },
  };
}

async function leaderOf(view: MeshView): Promise<LeaderFact | undefined> {
  const lease = leaderAt(view.leaderLeases.get(LEADING_SERVICE), systemClock.elapsed());
  if (lease === undefined) return undefined;
  if (!view.link.mayAct) return { lease, answers: undefined };
  return { lease, answers: await isThere(view, aliveSubject(LEADING_SERVICE, lease.instance)) };
}

/** Who is there, of the living; a viewer may not ask. */
async function ping(
  view: MeshView,
  nodes: readonly NodeView[],
  matter: readonly string[],
): Promise<ReadonlyMap<string, boolean>> {
  const heard = new Map<string, boolean>();
  if (!view.link.mayAct) return heard;
  const living = nodes.map(({ record }) => record).filter(isLiving);
  const isFirst = ({ id }: { readonly id: string }): boolean => matter.includes(id);
  const asked = [...living.filter(isFirst), ...living.filter((one) => !isFirst(one))];
  await Promise.all(
    asked.slice(0, PINGS_MAX).map(async ({ id, incarnation }) => {
      const right = (data: Uint8Array): boolean => {
        const pong = decode(Pong, data);
        return pong.ok && pong.value.incarnation === incarnation;
      };
      heard.set(id, await isThere(view, nodeSubject(id, "ping"), right));
    }),
  );
  return heard;
}

async function isThere(
  view: MeshView,
  subject: string,
  isRight: (data: Uint8Array) => boolean = () => true,
): Promise<boolean> {
  try {
    const { data } = await view.link.nc.request(subject, "{}", { timeout: PING_TIMEOUT_MS });
    return isRight(data);
  } catch {
    // Nobody listens, or nobody answers in time: not there, as far as can be told.
    return false;
  }
}

/** `undefined` when no coordinator answers, or not in time. */
async function list(view: MeshView, filter: Partial<ListTasks>): Promise<TaskList | undefined> {
  try {
    const options = { timeout: LIST_TIMEOUT_MS };
    const { data } = await view.link.nc.request(LIST_SUBJECT, encode(filter), options);
    const answer = decode(TaskList, data);
    return answer.ok ? answer.value : undefined;
  } catch {
    // Nobody to ask is just when people ask why: the answer says what is not known.
    return undefined;
  }
}

/** What is stored of a capability, lane by lane. */
async function lanesOf(
  view: MeshView,
  capability: string,
  { running }: MeshFacts,
): Promise<readonly LaneFact[]> {
  const { lanes } = await readDepths(view.manager);
  const here = running?.filter((task) => task.capability === capability);
  return lanes
    .filter((lane) => lane.capability === capability)
    .map(({ lane, stored }) => {
      const runs = here?.filter((task) => laneOf(task) === lane).length;
      const waiting = runs === undefined ? undefined : Math.max(0, stored - runs);
      return { lane, stored, waiting, oldestAtMs: undefined };
    });
}
