/** A picture as lines of text: for the screen, and for those who want it once. */
import { timeOf } from "@swarm-mesh/runtime";
import { eventLine } from "../events.ts";
import { type Colour, cell, painter, span, table } from "../output.ts";
import {
  type CapabilityRow,
  type NodeRow,
  type Picture,
  STALE_MS,
  type TaskRow,
} from "./picture.ts";
import { type Ui, VIEWS, type View } from "./ui.ts";

/** A line; what is chosen by it can be explained. */
export interface Line {
  readonly text: string;
  readonly colour?: Colour | undefined;
  /** What `why` is asked when it is chosen. */
  readonly about?:
    | { readonly kind: "task" | "node" | "capability"; readonly id: string }
    | undefined;
}

const plain = painter(false);
const HELP: readonly string[] = [
  "1 2 3 4 5, left, right, tab   choose a view",
  "up, down, page up, page down  choose a line",
  "enter                         why it is as it is; again, or esc: back",
  "/                             show lines with a text; enter keeps it, esc takes it away",
  "?                             this",
  "q, ctrl-c                     quit",
  "",
  "TAKEN   tasks in the leader's hands: they run, or are about to",
  "RATE    tasks of the capability that the leader took each second",
  "OLDEST  how long the task that waits longest has waited; the viewer's key may not see it",
];

/** Who leads, how old the picture is, and what may be pressed: two lines. */
export function headLines({ fresh, leader }: Picture, ui: Ui, clock: string): readonly Line[] {
  const who =
    leader === undefined ? "no leader" : `${leader.instance} leads, epoch ${leader.epoch}`;
  const { text, colour } = freshness(fresh);
  const tabs = VIEWS.map((view, index) =>
    view === ui.view ? `[${index + 1} ${view}]` : ` ${index + 1} ${view} `,
  );
  const filter = ui.typing || ui.filter !== "" ? `   /${ui.filter}${ui.typing ? "_" : ""}` : "";
  return [
    {
      text: `swarmctl top  ${text}  ${clock}  ${who}  ${fresh.url}`,
      colour: leader === undefined ? "red" : colour,
    },
    { text: `${tabs.join("")}${filter}   ? help  q quit`, colour: "dim" },
  ];
}

function freshness({ linked, lostForMs, ageMs }: Picture["fresh"]): {
  text: string;
  colour: Colour | undefined;
} {
  const age = Number.isFinite(ageMs)
    ? `what is shown is ${span(ageMs)} old`
    : "nothing was read yet";
  if (!linked) return { text: `DISCONNECTED for ${span(lostForMs)}, ${age}`, colour: "red" };
  if (ageMs > STALE_MS) return { text: `STALE: ${age}`, colour: "red" };
  return { text: "live", colour: "green" };
}

/** The lines of the view, less those that the filter leaves out; the first is a heading or `undefined`. */
export function bodyLines(
  picture: Picture,
  ui: Ui,
): { readonly head: readonly Line[]; readonly lines: readonly Line[] } {
  if (ui.help) return { head: [], lines: HELP.map((text) => ({ text })) };
  if (ui.detail !== undefined) {
    return {
      head: [{ text: ui.detail.title, colour: "bold" }],
      lines: ui.detail.lines.map((text) => ({ text })),
    };
  }
  const { head, lines } = viewLines(picture, ui.view);
  const wanted = ui.filter.toLowerCase();
  return { head, lines: lines.filter(({ text }) => text.toLowerCase().includes(wanted)) };
}

/** A view by itself. */
export function viewLines(
  picture: Picture,
  view: View,
): { readonly head: readonly Line[]; readonly lines: readonly Line[] } {
  switch (view) {
    case "overview":
      return {
        head: summary(picture),
        lines: [...capabilityTable(picture).lines, ...recent(picture)],
      };
    case "nodes":
      return nodeTable(picture);
    case "capabilities":
      return capabilityTable(picture);
    case "tasks":
      return taskTable(picture);
    case "events":
      return eventLines(picture);
  }
}

function summary(picture: Picture): readonly Line[] {
  const { nodes, rates, delayed, dead, paused, nowMs, notes } = picture;
  const states = new Map<string, number>();
  for (const { state } of nodes) states.set(state, (states.get(state) ?? 0) + 1);
  const inStates = [...states].map(([state, count]) => `${count} ${state}`).join(", ");
  const cordoned = nodes.filter((node) => node.cordoned).length;
  const used = nodes.reduce((sum, node) => sum + (node.used ?? 0), 0);
  const slots = nodes
    .filter(({ used }) => used !== undefined)
    .reduce((sum, node) => sum + node.slots, 0);
  const waiting = picture.capabilities.reduce((sum, row) => sum + row.waiting, 0);
  const oldest = Math.min(
    ...picture.capabilities.map((row) => row.oldestAtMs ?? Number.POSITIVE_INFINITY),
  );
  const rate =
    rates === undefined
      ? "…"
      : `${perSecond(rates.submitted)} submitted, ${perSecond(rates.finished)} done, ${perSecond(rates.died)} given up`;
  const since = Number.isFinite(oldest) ? `, the oldest for ${span(nowMs - oldest)}` : "";
  const bad = nodes.some(({ state }) => state === "FAILED" || state === "DEGRADED");
  return [
    {
      text: `nodes   ${inStates === "" ? "none" : inStates}${cordoned === 0 ? "" : `; ${cordoned} cordoned`}`,
      colour: bad || nodes.length === 0 ? "red" : undefined,
    },
    { text: `slots   ${used} of ${slots} in use` },
    { text: `rates   ${rate}` },
    { text: `queues  ${waiting} waiting${since}; ${delayed} until their next try` },
    { text: `dead    ${dead}`, colour: dead > 0 ? "yellow" : undefined },
    ...(paused.length === 0
      ? []
      : [{ text: `paused  ${paused.join(", ")}`, colour: "yellow" as const }]),
    ...notes.map((text) => ({ text: `note    ${text}`, colour: "yellow" as const })),
    { text: "" },
    ...capabilityTable(picture).head,
  ];
}

function recent(picture: Picture): readonly Line[] {
  const bad = picture.tasks.filter(
    ({ status, migrations }) =>
      status === "failed" ||
      status === "rejected" ||
      status === "retrying" ||
      migrations.length > 0,
  );
  const tasks = bad.slice(0, 8).map((task) => taskLine(task));
  const events = eventLines(picture).lines.slice(0, 8);
  return [
    { text: "" },
    ...(tasks.length === 0
      ? []
      : [{ text: "FAILURES AND MOVES", colour: "bold" as const }, ...tasks, { text: "" }]),
    ...(events.length === 0 ? [] : [{ text: "EVENTS", colour: "bold" as const }, ...events]),
  ];
}

function taskLine({ id, capability, status, attempt, node, error, migrations }: TaskRow): Line {
  const move = migrations.at(-1);
  const moved = move === undefined ? "" : `, moved from ${move.from} (${move.reason})`;
  const why = error === null ? "" : `: ${cell(error.message, 80)} (${error.code})`;
  return {
    text: `${id}  ${capability}  ${status}, try ${attempt}${node === null ? "" : ` on ${node}`}${moved}${why}`,
    colour: status === "failed" || status === "rejected" ? "red" : undefined,
    about: { kind: "task", id },
  };
}

function nodeTable({ nodes, nowMs }: Picture) {
  const head = ["NODE", "STATE", "SLOTS", "RTT", "LAG", "SINCE", "CAPABILITIES", "HOST", "REASON"];
  const row = (node: NodeRow): readonly string[] => [
    node.id,
    `${node.state}${node.cordoned ? ",cordoned" : ""}`,
    `${node.used ?? "-"}/${node.slots}`,
    node.rttMs === undefined ? "-" : `${node.rttMs}ms`,
    node.lagMs === undefined ? "-" : `${Math.round(node.lagMs)}ms`,
    span(nowMs - node.sinceMs),
    cell(node.capabilities.join(","), 30),
    cell(node.host, 20),
    cell(node.reason, 40),
  ];
  return tableLines(head, nodes, row, (node) => ({
    about: { kind: "node", id: node.id },
    colour:
      node.state === "FAILED"
        ? "red"
        : node.state === "LEFT"
          ? "dim"
          : node.state === "ACTIVE" && !node.cordoned
            ? undefined
            : "yellow",
  }));
}

function capabilityTable({ capabilities, nowMs }: Picture) {
  const head = [
    "CAPABILITY",
    "NODES",
    "SLOTS",
    "TAKEN",
    "WAITING",
    "RETRY",
    "HIGH",
    "NORMAL",
    "LOW",
    "OLDEST",
    "RATE",
    "PAUSED",
  ];
  const row = (one: CapabilityRow): readonly string[] => [
    cell(one.capability, 32),
    String(one.nodes),
    String(one.slots),
    String(one.taken),
    String(one.waiting),
    ...[one.lanes.retry, one.lanes.high, one.lanes.normal, one.lanes.low].map(String),
    one.oldestAtMs === undefined ? "-" : span(nowMs - one.oldestAtMs),
    one.perSecond === undefined ? "-" : perSecond(one.perSecond),
    one.paused === undefined
      ? "-"
      : `${span(nowMs - timeOf(one.paused.at))} ${cell(one.paused.reason, 30)}`.trimEnd(),
  ];
  return tableLines(head, capabilities, row, (one) => ({
    about: { kind: "capability", id: one.capability },
    colour:
      one.paused !== undefined ? "yellow" : one.nodes === 0 && one.waiting > 0 ? "red" : undefined,
  }));
}

function taskTable({ tasks, nowMs }: Picture) {
  const head = ["TASK", "CAPABILITY", "LANE", "STATUS", "TRY", "NODE", "AGE", "ERROR"];
  const row = (task: TaskRow): readonly string[] => [
    task.id,
    cell(task.capability, 32),
    task.lane,
    task.status,
    String(task.attempt),
    task.node ?? "-",
    span(nowMs - timeOf(task.submittedAt)),
    cell(task.error?.message ?? "", 40),
  ];
  return tableLines(head, tasks, row, (task) => ({
    about: { kind: "task", id: task.id },
    colour:
      task.status === "failed" || task.status === "rejected"
        ? "red"
        : task.status === "retrying"
          ? "yellow"
          : undefined,
  }));
}

function eventLines({ events }: Picture) {
  const lines = events.map(
    (event): Line => ({
      text: eventLine(event, plain),
      colour: ["failed", "lost"].includes(event.kind) ? "red" : undefined,
      about: event.about === "node" ? { kind: "node", id: event.who } : undefined,
    }),
  );
  return { head: [], lines };
}

function tableLines<T>(
  head: readonly string[],
  items: readonly T[],
  row: (item: T) => readonly string[],
  more: (item: T) => Omit<Line, "text">,
): { readonly head: readonly Line[]; readonly lines: readonly Line[] } {
  const [first = "", ...rest] = table(head, items.map(row)).trimEnd().split("\n");
  return {
    head: [{ text: first, colour: "bold" }],
    lines: items.map((item, index) => ({ ...more(item), text: rest[index] ?? "" })),
  };
}

function perSecond(rate: number): string {
  return `${rate >= 10 || rate === 0 ? Math.round(rate) : rate.toFixed(1)}/s`;
}

/** The lines that fit: as many from the top as leave the chosen one in sight. */
export function windowOf<T>(
  lines: readonly T[],
  chosen: number,
  height: number,
): { readonly from: number; readonly lines: readonly T[] } {
  const from = Math.max(0, Math.min(chosen - height + 1, lines.length - height));
  return { from, lines: lines.slice(from, from + Math.max(0, height)) };
}
