/** `swarmctl capability list`: who serves each kind of work, and what waits for it. */
import type { JetStreamManager } from "@nats-io/jetstream";
import {
  type CapabilitySetting,
  isGone,
  LIST_SUBJECT,
  type NodeRecord,
  TaskList,
  type TaskRecord,
} from "@swarm-mesh/protocol";
import { isoTime, systemClock, timeOf } from "@swarm-mesh/runtime";
import type { Call } from "./call.ts";
import { compareIds, readNodes } from "./node-records.ts";
import { cell, type Paint, span, table } from "./output.ts";
import { LANES, type LaneName, oldestWaiting, type Queue, readQueues } from "./queues.ts";
import { type Session, withSession } from "./session.ts";
import { readSettings, type Settings } from "./settings.ts";
import { show, type WatchFlags } from "./watching.ts";
import { mayReadQueue } from "./why/queue.ts";

/** A kind of work, who serves it and what waits for it. */
export interface CapabilityRow {
  readonly capability: string;
  /** Nodes that are given its tasks, and of the others that offer it those that are cordoned. */
  readonly nodes: number;
  readonly cordoned: number;
  /** Slots of those that are given tasks; agents share theirs among their capabilities. */
  readonly slots: number;
  /** `null`: too many run to be counted, or no coordinator answers. */
  readonly running: number | null;
  readonly waiting: number;
  readonly lanes: Readonly<Record<LaneName, number>>;
  /** When the task that waits longest was stored; `null`: none waits, or this key may not see. */
  readonly oldest: string | null;
  /** `null`: it is not paused. */
  readonly paused: CapabilitySetting | null;
}

/** Running tasks that are counted; beyond it only the queues' own figures are known. */
const RUNNING_MAX = 1_000;

/** `capability list`: who serves what, what waits in each lane, and what is paused. */
export async function listCapabilities(call: Call<WatchFlags>): Promise<void> {
  await withSession(call, "admin", async (session) => {
    const view = {
      read: async () => ({ capabilities: await readCapabilities(session) }),
      render: ({ capabilities }: { readonly capabilities: readonly CapabilityRow[] }) =>
        capabilitiesText(capabilities, session.paint),
    };
    await show(view, { io: call.io, format: session.format, watch: call.flags.watch === true });
  });
}

async function readCapabilities(session: Session): Promise<readonly CapabilityRow[]> {
  const manager = await session.manager();
  const [nodes, settings, running, mayRead] = await Promise.all([
    readNodes(session),
    readSettings(session),
    readRunning(session),
    mayReadQueue(manager),
  ]);
  const queues = await readQueues(manager, running);
  const rows = capabilityRows({ nodes, settings, running, queues: queues.capabilities });
  if (!mayRead) return rows;
  const ids = new Set(running?.map(({ id }) => id));
  return Promise.all(
    rows.map(async (row) => {
      const queue = queues.capabilities.get(row.capability);
      return queue === undefined ? row : { ...row, oldest: await oldestOf(manager, queue, ids) };
    }),
  );
}

/** Records of what runs; `undefined`: too many, or no coordinator answers. */
async function readRunning(session: Session): Promise<readonly TaskRecord[] | undefined> {
  const { timeoutMs } = session.target;
  const filter = { status: "running", limit: RUNNING_MAX };
  const answer = await session.client.askOnce(LIST_SUBJECT, filter, TaskList, { timeoutMs });
  if (answer.kind !== "ok" || !answer.value.complete) return undefined;
  return answer.value.tasks.length < RUNNING_MAX ? answer.value.tasks : undefined;
}

async function oldestOf(
  manager: JetStreamManager,
  queue: Queue,
  running: ReadonlySet<string>,
): Promise<string | null> {
  const times = await Promise.all(
    queue.lanes.map((lane) =>
      oldestWaiting(manager, queue.capability, lane, (id) => running.has(id)),
    ),
  );
  const known = times.filter((time) => time !== undefined);
  return known.length === 0 ? null : isoTime(Math.min(...known));
}

interface CapabilityFacts {
  readonly nodes: readonly NodeRecord[];
  readonly settings: Settings;
  readonly running: readonly TaskRecord[] | undefined;
  readonly queues: ReadonlyMap<string, Queue>;
}

/** Everything that is offered, waited for or paused; {@link CapabilityRow.oldest} is left open. */
export function capabilityRows(facts: CapabilityFacts): readonly CapabilityRow[] {
  const { nodes, settings, running, queues } = facts;
  const there = nodes.filter(({ state }) => !isGone(state));
  const waitedFor = [...queues.values()].filter(({ stored }) => stored > 0);
  const names = new Set([
    ...there.flatMap(({ capabilities }) => capabilities),
    ...waitedFor.map(({ capability }) => capability),
    ...settings.paused.keys(),
  ]);
  return [...names].sort(compareIds).map((capability) => {
    const offering = there.filter(({ capabilities }) => capabilities.includes(capability));
    const given = offering.filter(
      ({ id, state }) => state === "ACTIVE" && !settings.cordoned.has(id),
    );
    const agents = given
      .flatMap((node) => node.agents)
      .filter((agent) => agent.capabilities.includes(capability));
    const queue = queues.get(capability);
    const inLane = (name: LaneName): number =>
      queue?.lanes.find(({ lane }) => lane === name)?.waiting ?? 0;
    return {
      capability,
      nodes: given.length,
      cordoned: offering.filter(({ id }) => settings.cordoned.has(id)).length,
      slots: agents.reduce((sum, { slots }) => sum + slots, 0),
      running: running?.filter((task) => task.capability === capability).length ?? null,
      waiting: queue?.waiting ?? 0,
      lanes: {
        retry: inLane("retry"),
        high: inLane("high"),
        normal: inLane("normal"),
        low: inLane("low"),
      },
      oldest: null,
      paused: settings.paused.get(capability) ?? null,
    };
  });
}

function capabilitiesText(rows: readonly CapabilityRow[], paint: Paint): string {
  if (rows.length === 0) return "no capability is offered or waited for\n";
  const lanes = LANES.map((lane) => lane.toUpperCase());
  const head = ["CAPABILITY", "NODES", "SLOTS", "RUNNING", "WAITING", ...lanes, "OLDEST", "PAUSED"];
  const nowMs = systemClock.now();
  const lines = rows.map((row) => [
    cell(row.capability, 32),
    `${row.nodes === 0 ? paint("red", "0") : row.nodes}${row.cordoned === 0 ? "" : ` (${row.cordoned} cordoned)`}`,
    String(row.slots),
    row.running === null ? "?" : String(row.running),
    String(row.waiting),
    ...LANES.map((lane) => String(row.lanes[lane])),
    row.oldest === null ? "-" : span(nowMs - timeOf(row.oldest)),
    row.paused === null ? "-" : paint("yellow", settingText(row.paused)),
  ]);
  return table(head, lines);
}

/** Since when, by whom and why something is held back: `5m by ada@box (admin): new model`. */
export function settingText(setting: Pick<CapabilitySetting, "at" | "by" | "reason">): string {
  const { at, by, reason } = setting;
  const who = by === "" ? "" : ` by ${by}`;
  return cell(
    `${span(systemClock.now() - timeOf(at))}${who}${reason === "" ? "" : `: ${reason}`}`,
    80,
  );
}
