/** `swarmctl node list|get|drain`. */
import {
  DrainOrder,
  isCapability,
  isGone,
  type NodeLease,
  type NodeRecord,
  type NodeSetting,
  type NodeState,
  nodeSubject,
} from "@swarm-mesh/protocol";
import { systemClock, timeOf } from "@swarm-mesh/runtime";
import { z } from "zod";
import type { Call } from "./call.ts";
import { settingText } from "./capabilities.ts";
import { CliError, Exit, usageError } from "./exit.ts";
import { durationFlag, labelFlags, nodeIdArg } from "./flags.ts";
import type { Io } from "./io.ts";
import { readLeases, readNodeLease } from "./leases.ts";
import { operate } from "./operate.ts";
import { type Colour, cell, type Paint, pairs, print, span, table } from "./output.ts";
import { Progress } from "./progress.ts";
import { type Session, withSession } from "./session.ts";
import { NO_SETTINGS, readSettings } from "./settings.ts";
import { show, type WatchFlags } from "./watching.ts";

export interface NodeListFlags extends WatchFlags {
  readonly capability?: string;
  readonly label?: readonly string[];
}

export interface DrainFlags {
  readonly deadline: string;
  readonly wait?: boolean;
  readonly reason?: string;
}

/** A node's record, and what it said of its load last; `null` when unknown or not ours to know. */
export type NodeRow = NodeRecord & {
  readonly load: NodeLease | null;
  /** Who had it given nothing new; `null`: it is not cordoned, or that is not ours to know. */
  readonly cordon: NodeSetting | null;
};

/**
 * `node list`: every node that is not archived, or the active ones that can do something; with its
 * load.
 */
export async function listNodes(call: Call<NodeListFlags>): Promise<void> {
  const { capability, label, watch } = call.flags;
  if (capability !== undefined && !isCapability(capability)) {
    throw usageError(`--capability ${JSON.stringify(capability)} is no capability`);
  }
  const labels = label === undefined ? undefined : labelFlags("--label", label);
  const filtered = capability !== undefined || labels !== undefined;
  await withSession(call, "admin", async (session) => {
    const { client, format, paint } = session;
    const view = {
      read: async () => {
        const nodes = filtered
          ? await client.findNodes({ capability, labels })
          : await client.nodes();
        return { nodes: await withLoad(session, nodes) };
      },
      render: ({ nodes }: { readonly nodes: readonly NodeRow[] }) => listText(nodes, paint),
    };
    await show(view, { io: call.io, format, watch: watch === true });
  });
}

/** `node get`: one node's record and load. Ends with 3 when nobody knows it. */
export async function getNode(call: Call): Promise<void> {
  const id = nodeIdArg(call.args[0] ?? "");
  await withSession(call, "admin", async (session) => {
    const [node] = await withLoad(session, [await findNode(session, id)]);
    if (node === undefined) return;
    print(call.io, session.format, node, () => nodeText(node, session.paint));
  });
}

/** Orders a node to drain; with `--wait` until it has left. */
export async function drainNode(call: Call<DrainFlags>): Promise<void> {
  const id = nodeIdArg(call.args[0] ?? "");
  const deadlineMs = durationFlag("--deadline", call.flags.deadline);
  const deadlineMaxMs = DrainOrder.shape.deadlineMs.unwrap().maxValue ?? 0;
  if (deadlineMs > deadlineMaxMs) throw usageError("--deadline is at most 1h");
  await withSession(call, "admin", async (session) => {
    const { incarnation } = await findNode(session, id);
    const { reason = "swarmctl node drain" } = call.flags;
    const deed = { action: "node.drain" as const, target: id, reason };
    await operate(session, deed, () => orderDrain(session, id, { deadlineMs, reason }));
    if (call.flags.wait === true) {
      await waitUntilGone(session, call.io, { id, incarnation, deadlineMs });
    }
    const state = call.flags.wait === true ? "left" : "draining";
    print(call.io, session.format, { id, state, deadlineMs }, () => `${id} ${state}\n`);
  });
}

/** A node's answer to the order. */
const Accepted = z.looseObject({ draining: z.literal(true) });

async function orderDrain(session: Session, id: string, order: DrainOrder): Promise<void> {
  const subject = nodeSubject(id, "drain");
  const { timeoutMs } = session.target;
  const answer = await session.client.askOnce(subject, order, Accepted, { timeoutMs });
  switch (answer.kind) {
    case "ok":
      return;
    case "malformed":
      throw new CliError(Exit.error, "malformed", `${id}: ${answer.problem}`);
    case "refused":
      throw new CliError(Exit.conflict, answer.error.code, `${id}: ${answer.error.message}`);
    case "no-responders":
      throw new CliError(
        Exit.notFound,
        "not_found",
        `${id} does not listen: it is not connected, or this key may not order it (it needs the admin's)`,
      );
    case "timeout":
      throw new CliError(Exit.timeout, "timeout", `${id} did not answer within ${timeoutMs} ms`);
  }
}

/** A drain is followed by the record, which the registry writes when the node says goodbye. */
async function waitUntilGone(
  session: Session,
  io: Io,
  { id, incarnation, deadlineMs }: { id: string; incarnation: number; deadlineMs: number },
): Promise<void> {
  const { format, target } = session;
  const progress = new Progress(io, format, `tasks of ${id} done`);
  const startedAtMs = systemClock.elapsed();
  const deadline = startedAtMs + deadlineMs + target.timeoutMs;
  let total = 0;
  try {
    for (;;) {
      const node = (await session.client.nodes()).find((candidate) => candidate.id === id);
      if (node === undefined || node.incarnation > incarnation || isGone(node.state)) return;
      const now = systemClock.elapsed();
      if (now >= deadline) {
        throw new CliError(Exit.timeout, "timeout", `${id} has not left: it is ${node.state}`);
      }
      if (io.errTerminal && format === "table") {
        const left = (await readNodeLease(session, id))?.running ?? 0;
        total = Math.max(total, left);
        const note = `handed back in ${span(Math.max(0, startedAtMs + deadlineMs - now))} at the latest`;
        progress.tell({ done: total - left, total, note });
      }
      await systemClock.sleep(WAIT_POLL_MS);
    }
  } finally {
    progress.clear();
  }
}

const WAIT_POLL_MS = 200;

async function findNode(session: Session, id: string): Promise<NodeRecord> {
  const nodes = await session.client.nodes();
  const node = nodes.find((candidate) => candidate.id === id);
  if (node !== undefined) return node;
  const known = nodes.map((candidate) => candidate.id).slice(0, 10);
  const hint = known.length === 0 ? "there are none" : `there are ${known.join(", ")}`;
  throw new CliError(Exit.notFound, "not_found", `no node ${id}; ${hint}`);
}

/** Adds each node's load and cordon. A client may list nodes but read neither. */
async function withLoad(
  session: Session,
  nodes: readonly NodeRecord[],
): Promise<readonly NodeRow[]> {
  const may = session.target.inboxPrefix !== "_INBOX_client";
  const leases = may ? (await readLeases(session)).nodes : new Map<string, NodeLease>();
  const { cordoned } = may ? await readSettings(session) : NO_SETTINGS;
  return nodes.map((node) => {
    const lease = leases.get(node.id);
    // A lease outlives a killed node for some seconds, and says nothing of a later life.
    const current = !isGone(node.state) && lease?.incarnation === node.incarnation;
    return { ...node, load: current ? lease : null, cordon: cordoned.get(node.id) ?? null };
  });
}

const STATE_COLOURS: Readonly<Record<NodeState, Colour>> = {
  DISCOVERING: "yellow",
  JOINING: "yellow",
  ACTIVE: "green",
  SYNCING: "yellow",
  DEGRADED: "yellow",
  LEAVING: "yellow",
  LEFT: "dim",
  FAILED: "red",
};

function listText(nodes: readonly NodeRow[], paint: Paint): string {
  if (nodes.length === 0) return "no nodes\n";
  const head = ["ID", "STATE", "SLOTS", "CAPABILITIES", "LABELS", "HOST", "LIFE", "SINCE"];
  const rows = [...nodes]
    .sort((left, right) => left.id.localeCompare(right.id, "en", { numeric: true }))
    .map((node) => [
      node.id,
      paint(STATE_COLOURS[node.state], node.state) +
        (node.cordon ? paint("yellow", ",cordoned") : ""),
      `${node.load?.running ?? "-"}/${node.slots}`,
      cell(node.capabilities.join(","), 40),
      cell(labelsText(node), 40),
      cell(node.host, 24),
      String(node.incarnation),
      span(systemClock.now() - timeOf(node.joinedAt)),
    ]);
  return table(head, rows);
}

function nodeText(node: NodeRow, paint: Paint): string {
  const load = node.load;
  return pairs([
    ["id", node.id],
    ["state", `${paint(STATE_COLOURS[node.state], node.state)} (${node.reason})`],
    ...(node.cordon === null ? [] : [["cordoned", settingText(node.cordon)] as const]),
    ["life", String(node.incarnation)],
    ["role", node.role],
    ["host", node.port === 0 ? node.host : `${node.host}:${node.port}`],
    ["slots", `${load?.running ?? "?"} of ${node.slots} in use`],
    ["load", load === null ? "-" : `round trip ${load.rttMs} ms, event loop ${load.lagMs} ms late`],
    ...node.agents.map(
      (agent) =>
        [`agent ${agent.name}`, `${agent.slots} slots: ${agent.capabilities.join(", ")}`] as const,
    ),
    ["labels", labelsText(node)],
    ["machine", `${node.cpu} cores, ${Math.round(node.memoryBytes / 2 ** 20)} MiB`],
    ["version", node.version],
    ["joined", node.joinedAt],
    ["updated", node.updatedAt],
  ]);
}

function labelsText(node: NodeRecord): string {
  const pairsOf = Object.entries(node.labels).map(([name, value]) => `${name}=${value}`);
  return pairsOf.length === 0 ? "-" : pairsOf.join(",");
}
