/** `swarmctl status` and `swarmctl leader`. */
import type { JetStreamManager } from "@nats-io/jetstream";
import { MeshClientError } from "@swarm-mesh/client";
import {
  decode,
  isGone,
  LeaderEvent,
  type LeaderLease,
  leaderEventSubject,
  MESH_DEAD,
  MESH_EVENTS,
  MESH_RETRIES,
  MESH_TASKS,
  type NodeRecord,
  type TaskList,
  tokenOf,
} from "@swarm-mesh/protocol";
import { systemClock, timeOf } from "@swarm-mesh/runtime";
import type { Call } from "./call.ts";
import { CliError, Exit } from "./exit.ts";
import { type Leases, readLeases } from "./leases.ts";
import { bytes, type Paint, pairs, span, table } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { readSettings } from "./settings.ts";
import { show, type WatchFlags } from "./watching.ts";

/** Who leads. */
export interface Leadership {
  readonly service: string;
  readonly instance: string;
  readonly host: string;
  readonly pid: number;
  readonly epoch: number;
  /** When the term began; `null` when nothing tells any more. */
  readonly since: string | null;
}

/** Tasks that are stored, and of those how many run; the others wait. */
export interface Backlog {
  readonly capability: string;
  /** Stored by lane; `retry` are those whose next try is due. */
  readonly stored: Readonly<Record<string, number>>;
  /** `null` when nobody can tell: no coordinator leads, or there are too many to count. */
  readonly running: number | null;
}

/** The mesh at a glance. */
export interface Status {
  readonly server: { readonly url: string; readonly version: string; readonly cluster: string };
  readonly leader: Leadership | null;
  readonly nodes: Readonly<Record<string, number>>;
  readonly slots: { readonly used: number; readonly total: number };
  readonly tasks: {
    readonly stored: number;
    readonly delayed: number;
    readonly capabilities: readonly Backlog[];
  };
  /** What operators hold back: paused capabilities, cordoned nodes. */
  readonly held: { readonly paused: readonly string[]; readonly cordoned: readonly string[] };
  readonly dead: number;
  readonly jetstream: {
    readonly storedBytes: number;
    readonly limitBytes: number;
    readonly streams: number;
    readonly consumers: number;
  };
}

const LEADING_SERVICE = "coordinator";
/** Running tasks that are counted by capability; beyond it only their sum is known. */
const RUNNING_COUNT_MAX = 1_000;
const UNKNOWN_TEXT = `(? no coordinator says what runs, or ${RUNNING_COUNT_MAX} tasks or more do)\n`;

/** `leader`: who leads, since when, in which term; with `--watch` again and again. */
export async function showLeader(call: Call<WatchFlags>): Promise<void> {
  await withSession(call, "admin", async (session) => {
    const view = { read: () => readLeader(session), render: leaderText };
    await show(view, { io: call.io, format: session.format, watch: call.flags.watch === true });
  });
}

/** `status`: the mesh at a glance; with `--watch` again and again. */
export async function showStatus(call: Call<WatchFlags>): Promise<void> {
  await withSession(call, "admin", async (session) => {
    const view = {
      read: () => readStatus(session),
      render: (status: Status) => statusText(status, session.paint),
    };
    await show(view, { io: call.io, format: session.format, watch: call.flags.watch === true });
  });
}

async function readLeader(session: Session): Promise<Leadership> {
  const leader = await leaderOf(await session.manager(), await readLeases(session));
  if (leader !== null) return leader;
  throw new CliError(
    Exit.notFound,
    "not_found",
    "no coordinator leads; start one with `swarmctl service coordinator`",
  );
}

async function readStatus(session: Session): Promise<Status> {
  const manager = await session.manager();
  const leases = await readLeases(session);
  const [nodes, leader, tasks, dead, account, settings] = await Promise.all([
    session.client.nodes(),
    leaderOf(manager, leases),
    readBacklog(session, manager),
    manager.streams.info(MESH_DEAD.name),
    manager.getAccountInfo(),
    readSettings(session),
  ]);
  const { info } = session.nc;
  return {
    server: {
      url: session.nc.getServer(),
      version: info?.version ?? "",
      cluster: info?.cluster ?? "",
    },
    leader,
    nodes: countBy(nodes, (node) => node.state),
    slots: slotsOf(nodes, leases),
    tasks,
    held: { paused: [...settings.paused.keys()], cordoned: [...settings.cordoned.keys()] },
    dead: dead.state.messages,
    jetstream: {
      storedBytes: account.storage,
      limitBytes: account.limits.max_storage,
      streams: account.streams,
      consumers: account.consumers,
    },
  };
}

async function leaderOf(manager: JetStreamManager, leases: Leases): Promise<Leadership | null> {
  const lease = leases.leaders.get(LEADING_SERVICE);
  if (lease === undefined) return null;
  const { instance, host, pid } = lease;
  const term = await termOf(manager, lease);
  return { service: LEADING_SERVICE, instance, host, pid, ...term };
}

/** The last announced term, when it is this instance's: a lease's own time is its last renewal. */
async function termOf(
  manager: JetStreamManager,
  lease: LeaderLease,
): Promise<Pick<Leadership, "epoch" | "since">> {
  const unknown = { epoch: lease.epoch, since: null };
  try {
    const message = await manager.streams.getMessage(MESH_EVENTS.name, {
      last_by_subj: leaderEventSubject(LEADING_SERVICE),
    });
    const event = message === null ? undefined : decode(LeaderEvent, message.data);
    if (event?.ok !== true || event.value.kind !== "elected") return unknown;
    const { epoch, at, instance } = event.value;
    // The acquiring write itself says 0: the first renewal tells the number.
    const same = instance === lease.instance && (lease.epoch === 0 || lease.epoch === epoch);
    return same ? { epoch, since: at } : unknown;
  } catch {
    // No event yet, or no right to read it: who leads is worth telling without it.
    return unknown;
  }
}

async function readBacklog(session: Session, manager: JetStreamManager): Promise<Status["tasks"]> {
  const [submits, retries, running] = await Promise.all([
    manager.streams.info(MESH_TASKS.name, { subjects_filter: ">" }),
    manager.streams.info(MESH_RETRIES.name, { subjects_filter: ">" }),
    // Without a coordinator nobody answers, and that is just when people look.
    session.client.list({ status: "running", limit: RUNNING_COUNT_MAX }).catch((error) => {
      if (error instanceof MeshClientError) return undefined;
      throw error;
    }),
  ]);
  const subjects = { ...submits.state.subjects, ...retries.state.subjects };
  return backlogOf(subjects, runningOf(running));
}

/** What runs, by capability; `undefined` when the list does not hold all of it. */
export function runningOf(
  running: TaskList | undefined,
): Readonly<Record<string, number>> | undefined {
  // Without a leader a coordinator reads only so far back, and what runs for long is further.
  if (running?.complete !== true || running.tasks.length >= RUNNING_COUNT_MAX) return undefined;
  return countBy(running.tasks, (task) => task.capability);
}

/** Sorts the subjects of the task streams by capability and lane. */
export function backlogOf(
  subjects: Readonly<Record<string, number>>,
  runningBy: Readonly<Record<string, number>> | undefined,
): Status["tasks"] {
  const stored = new Map<string, Record<string, number>>();
  let delayed = 0;
  let total = 0;
  for (const [subject, count] of Object.entries(subjects)) {
    total += count;
    const kind = tokenOf(subject, 2);
    if (kind === "delayed") {
      delayed += count;
      continue;
    }
    const capability = tokenOf(subject, 3);
    const lane = kind === "retry" ? "retry" : tokenOf(subject, 4) || "normal";
    const lanes = stored.get(capability) ?? {};
    lanes[lane] = (lanes[lane] ?? 0) + count;
    stored.set(capability, lanes);
  }
  const capabilities = [...stored]
    .sort(([left], [right]) => left.localeCompare(right, "en"))
    .map(([capability, lanes]) => ({
      capability,
      stored: lanes,
      running: runningBy === undefined ? null : (runningBy[capability] ?? 0),
    }));
  return { stored: total, delayed, capabilities };
}

function slotsOf(nodes: readonly NodeRecord[], leases: Leases): Status["slots"] {
  let used = 0;
  let total = 0;
  for (const node of nodes) {
    if (isGone(node.state)) continue;
    total += node.slots;
    const lease = leases.nodes.get(node.id);
    if (lease?.incarnation === node.incarnation) used += lease.running;
  }
  return { used, total };
}

function countBy<T>(items: readonly T[], keyOf: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const item of items) counts[keyOf(item)] = (counts[keyOf(item)] ?? 0) + 1;
  return counts;
}

function leaderText(leader: Leadership): string {
  return pairs([
    ["leader", leader.instance],
    ["epoch", String(leader.epoch)],
    ["since", sinceText(leader)],
    ["process", `${leader.pid} on ${leader.host}`],
  ]);
}

function sinceText({ since }: Leadership): string {
  return since === null ? "-" : `${since} (${span(systemClock.now() - timeOf(since))})`;
}

/** What people see of a {@link Status}. */
export function statusText(status: Status, paint: Paint): string {
  const { server, leader, slots, tasks, jetstream } = status;
  const nodes = Object.entries(status.nodes).map(([state, count]) => {
    const bad = state === "FAILED" || state === "DEGRADED";
    return `${count} ${paint(bad ? "red" : state === "ACTIVE" ? "green" : "dim", state)}`;
  });
  const limit = jetstream.limitBytes > 0 ? ` of ${bytes(jetstream.limitBytes)}` : "";
  const rows: (readonly [string, string])[] = [
    ["server", `${server.url}, nats-server ${server.version}`],
    [
      "leader",
      leader === null
        ? paint("red", "none")
        : `${paint("green", leader.instance)}, epoch ${leader.epoch}, since ${sinceText(leader)}`,
    ],
    ["nodes", nodes.length === 0 ? "none" : nodes.join(", ")],
    ["slots", `${slots.used} of ${slots.total} in use`],
    ["tasks", `${tasks.stored} waiting or running, ${tasks.delayed} of them until their next try`],
    ["dead", status.dead === 0 ? "0" : paint("yellow", String(status.dead))],
    [
      "storage",
      `${bytes(jetstream.storedBytes)}${limit}, ${jetstream.streams} streams, ${jetstream.consumers} consumers`,
    ],
  ];
  const { paused, cordoned } = status.held;
  if (paused.length > 0) rows.push(["paused", paint("yellow", paused.join(", "))]);
  if (cordoned.length > 0) rows.push(["cordoned", paint("yellow", cordoned.join(", "))]);
  if (tasks.capabilities.length === 0) return pairs(rows);
  return `${pairs(rows)}\n${backlogText(tasks.capabilities)}`;
}

function backlogText(capabilities: readonly Backlog[]): string {
  const head = ["CAPABILITY", "RUNNING", "WAITING", "HIGH", "NORMAL", "LOW", "RETRY"];
  const rows = capabilities.map(({ capability, stored, running }) => {
    const total = Object.values(stored).reduce((sum, count) => sum + count, 0);
    const lanes = ["high", "normal", "low", "retry"].map((lane) => String(stored[lane] ?? 0));
    const waiting = running === null ? "?" : String(Math.max(0, total - running));
    return [capability, running === null ? "?" : String(running), waiting, ...lanes];
  });
  const unknown = capabilities.some(({ running }) => running === null);
  return `${table(head, rows)}${unknown ? UNKNOWN_TEXT : ""}`;
}
