/** Why is this task where it is? Facts in, answer out. */
import type { Migration, TaskRecord } from "@swarm-mesh/protocol";
import { timeOf } from "@swarm-mesh/runtime";
import { type Answer, leads, type NodeFact, type TaskFacts } from "./facts.ts";
import {
  laneLines,
  leaderLine,
  oldestIn,
  refusalLines,
  silenceOf,
  stateLine,
  supplyOf,
} from "./supply.ts";
import { cell, span } from "./text.ts";
import { at, clock, count, errorText, moment, since } from "./wording.ts";

/** Why the task is where it is. */
export function whyTask(facts: TaskFacts): Answer {
  const { record } = facts;
  if (record === undefined) return withoutRecord(facts);
  switch (record.status) {
    case "running":
      return underWay(facts, record);
    case "retrying":
      return retrying(facts, record);
    case "succeeded":
    case "failed":
    case "cancelled":
    case "rejected":
      return ended(facts, record);
  }
}

// ── No record ───────────────────────────────────────────────────────────────────────────────────

function withoutRecord(facts: TaskFacts): Answer {
  const { id, mesh, letter, queued, search } = facts;
  if (queued !== undefined) {
    const { lane, storedAtMs, seq, stream } = queued;
    const first = `submitted ${moment(storedAtMs, mesh.nowMs)}, lane ${lane}, message ${seq} of ${stream}`;
    return waiting(facts, { capability: queued.capability, first: [first] });
  }
  if (letter !== undefined) {
    return {
      cause: "expired",
      sentence: `${id} was given up ${moment(letter.atMs, mesh.nowMs)}; its record is gone, its dead letter is kept.`,
      evidence: [letterLine(id, letter.seq)],
    };
  }
  if (search.permitted && search.complete) {
    return {
      cause: "never_submitted",
      sentence: `${id} was never submitted, or it ended more than a day ago.`,
      evidence: [
        "it has no record and no dead letter",
        `none of the ${search.lookedAt} messages in the queue is it`,
      ],
    };
  }
  const looked = search.permitted
    ? `it is not among the first ${search.lookedAt} messages in the queue, and there are more than could be read in time (--timeout)`
    : "this key may not read the queue; the admin's may";
  return {
    cause: "not_found_in_queue",
    sentence: `${id} has no record: it waits further back in the queue, was never submitted, or ended more than a day ago.`,
    evidence: ["it has no record and no dead letter", looked],
  };
}

// ── Waiting ─────────────────────────────────────────────────────────────────────────────────────

interface Wait {
  readonly capability: string;
  /** What is known of this task alone; goes before everything else. */
  readonly first: readonly string[];
  /** What it did before: ` again`, when it has run. */
  readonly again?: string;
}

function waiting(facts: TaskFacts, { capability, first, again = "" }: Wait): Answer {
  const { id, lanes, mesh, queued } = facts;
  const oldestMs = oldestIn(lanes, mesh.nowMs);
  const supply = supplyOf(mesh, capability, queued?.requires, oldestMs);
  const rest = [...supply.evidence, ...laneLines(lanes, mesh.nowMs)];
  if (!leads(mesh)) {
    const also = supply.cause === "free" ? [] : [`besides: ${supply.clause}`];
    return {
      cause: "no_leader",
      sentence: `${id} waits${again}: no coordinator leads, so nothing is placed.`,
      evidence: [...first, leaderLine(mesh), ...also, ...rest],
    };
  }
  if (supply.cause !== "free") {
    return {
      cause: supply.cause,
      sentence: `${id} waits${again}: ${supply.clause}.`,
      evidence: [...first, ...rest],
    };
  }
  return {
    cause: "placing",
    sentence: `${id} waits${again}, and nothing is seen that holds it: ${supply.clause}; it should start in a moment.`,
    evidence: [...first, leaderLine(mesh), ...rest],
  };
}

function retrying(facts: TaskFacts, record: TaskRecord): Answer {
  const { id, mesh, queued } = facts;
  const dueAtMs = record.dueAt === null ? 0 : timeOf(record.dueAt);
  const move = record.migrations.at(-1);
  const hereToStay = move !== undefined && move.to === null;
  const first = [...tryLines(record, mesh.nowMs), ...moveLines(record, mesh.nowMs)];
  if (dueAtMs > mesh.nowMs) {
    const failed = record.tries.at(-1);
    const because = failed === undefined ? "" : `, because ${tryText(failed)}`;
    const leader = leads(mesh) ? [] : [`${leaderLine(mesh)}: without one it waits longer`];
    return {
      cause: "backoff",
      sentence: `try ${record.attempt + 1} of ${id} waits for its backoff until ${clock(dueAtMs, mesh.nowMs)} (in ${span(dueAtMs - mesh.nowMs)})${because}.`,
      evidence: [...first, `at most ${record.maxAttempts} of its tries may fail`, ...leader],
    };
  }
  const due = `try ${record.attempt + 1} is due since ${clock(dueAtMs, mesh.nowMs)} (${span(mesh.nowMs - dueAtMs)})`;
  const stored = queued === undefined ? [] : [`message ${queued.seq} of ${queued.stream} holds it`];
  const answer = waiting(facts, {
    capability: record.capability,
    first: [due, ...first, ...stored],
    again: " again",
  });
  const fits = answer.cause === "placing" || answer.cause === "shunned";
  if (!fits || !hereToStay || move.reason !== "refused") return answer;
  return {
    cause: "refused",
    sentence: `${id} waits again: ${move.from} refused it ${at(move.at, mesh.nowMs)} and no other node has taken it.`,
    evidence: [...new Set([due, ...refusalLines(mesh), ...answer.evidence])],
  };
}

// ── Running ─────────────────────────────────────────────────────────────────────────────────────

function underWay(facts: TaskFacts, record: TaskRecord): Answer {
  const { id, mesh } = facts;
  const node = mesh.nodes.find((one) => one.record.id === record.node);
  const where = `${record.node ?? "nowhere"}${agentOf(node, record)}`;
  const evidence = [
    ...progressLines(record),
    ...moveLines(record, mesh.nowMs),
    ...tryLines(record, mesh.nowMs),
  ];
  const lines = node === undefined ? [`${where} has no record`] : [stateLine(node, mesh)];
  if (node === undefined || isOver(node, record)) {
    const mover = leads(mesh) ? "it waits to be moved" : "no coordinator leads, so nobody moves it";
    return {
      cause: leads(mesh) ? "node_gone" : "no_leader",
      sentence: `${id} ran on ${where}, whose life is over; ${mover}.`,
      evidence: [...lines, ...moverLines(facts), ...evidence],
    };
  }
  if (node.answers === false) {
    const silence = silenceOf(mesh);
    return {
      cause: silence.cause,
      sentence: `${id} ran on ${where}, which does not answer; ${silence.clause}.`,
      evidence: [...silence.evidence, ...lines, ...evidence],
    };
  }
  if (!leads(mesh)) {
    lines.push(`${leaderLine(mesh)}: its outcome is kept at the node until one leads`);
  }
  const runs = `${id} runs on ${where}, try ${record.attempt}, ${since(record.startedAt ?? record.submittedAt, mesh.nowMs)}`;
  if (node.record.state === "LEAVING") {
    return {
      cause: "draining",
      sentence: `${runs}; the node is draining, so it ends there or is handed back.`,
      evidence: [...lines, ...evidence],
    };
  }
  const move = record.migrations.at(-1);
  if (move !== undefined && move.to === record.node) {
    return {
      cause: "moved",
      sentence: `${runs}; it was moved there from ${move.from}, ${MOVED[move.reason]}.`,
      evidence: [...evidence, ...formerLines(facts, move), ...lines],
    };
  }
  return { cause: "running", sentence: `${runs}.`, evidence: [...evidence, ...lines] };
}

/** Is the life of the node that the record names over? While JOINING its record still names it. */
function isOver({ record: node }: NodeFact, record: TaskRecord): boolean {
  const gone = node.state === "FAILED" || node.state === "LEFT" || node.state === "JOINING";
  return gone || node.incarnation !== record.incarnation;
}

/** The agent, when only one can be meant: the record names it at the end. */
function agentOf(node: NodeFact | undefined, record: TaskRecord): string {
  if (record.agent !== null) return `/${record.agent}`;
  const able = node?.record.agents.filter((one) => one.capabilities.includes(record.capability));
  const [agent] = able ?? [];
  return able?.length === 1 && agent !== undefined ? `/${agent.name}` : "";
}

const MOVED: Readonly<Record<Migration["reason"], string>> = {
  node_failed: "which failed",
  node_left: "which left",
  no_responders: "which was not there any more",
  handed_back: "which handed it back",
  refused: "which refused it",
};

function formerLines({ mesh }: TaskFacts, { from }: Migration): readonly string[] {
  const former = mesh.nodes.find(({ record }) => record.id === from);
  return former === undefined ? [] : [stateLine(former, mesh)];
}

/** Who would move it, and is not there. */
function moverLines({ mesh }: TaskFacts): readonly string[] {
  const migrator = mesh.services.has("migrator");
  const line = "no migrator answers discovery: the coordinator moves it by itself, 30 s later";
  return [...(migrator ? [] : [line]), leaderLine(mesh)];
}

// ── Ended ───────────────────────────────────────────────────────────────────────────────────────

function ended(facts: TaskFacts, record: TaskRecord): Answer {
  const { id, mesh, letter } = facts;
  const when = at(record.finishedAt ?? record.submittedAt, mesh.nowMs);
  const evidence = [
    ...tryLines(record, mesh.nowMs),
    ...moveLines(record, mesh.nowMs),
    ...(letter === undefined ? [] : [letterLine(id, letter.seq)]),
    ...tookLines(record, mesh.nowMs),
  ];
  const on =
    record.node === null
      ? ""
      : ` on ${record.node}${record.agent === null ? "" : `/${record.agent}`}`;
  const error = record.error === null ? "no reason is recorded" : errorText(record.error);
  switch (record.status) {
    case "succeeded":
      return {
        cause: "succeeded",
        sentence: `${id} succeeded ${when}${on}, at try ${record.attempt}.`,
        evidence,
      };
    case "cancelled": {
      const before = record.attempt === 0 ? ", before it ran" : `, at try ${record.attempt}${on}`;
      return { cause: "cancelled", sentence: `${id} was cancelled ${when}${before}.`, evidence };
    }
    case "rejected":
      return {
        cause: "rejected",
        sentence: `${id} was rejected ${when} and never ran: ${error}.`,
        evidence,
      };
    default:
      return { cause: "failed", sentence: failedText(record, { when, error, id }), evidence };
  }
}

function failedText(
  record: TaskRecord,
  { when, error, id }: { readonly when: string; readonly error: string; readonly id: string },
): string {
  const used = record.tries.length;
  if (record.error?.code === "too_many_losses") {
    return `${id} failed ${when}: ${error}; ${count(record.migrations.length, "move")}.`;
  }
  if (record.error?.retryable === false) {
    return `${id} failed ${when}, at try ${record.attempt}, and is not tried again: ${error} is final.`;
  }
  if (used === 1 && record.maxAttempts === 1)
    return `${id} failed ${when}: its only try ended with ${error}.`;
  const all =
    used >= record.maxAttempts
      ? `all ${used} tries are used up`
      : `${used} of ${record.maxAttempts} tries failed`;
  return `${id} failed ${when}: ${all}, the last with ${error}.`;
}

// ── Lines of evidence ───────────────────────────────────────────────────────────────────────────

const LINES_MAX = 5;

function tryText(failed: TaskRecord["tries"][number]): string {
  const on = failed.node === null ? "" : ` on ${failed.node}`;
  return `try ${failed.attempt} failed${on}: ${errorText(failed.error)}`;
}

function tryLines({ tries }: TaskRecord, nowMs: number): readonly string[] {
  return tries
    .slice(-LINES_MAX)
    .reverse()
    .map((failed) => `${tryText(failed)}, ${at(failed.at, nowMs)}`);
}

function moveLines({ migrations }: TaskRecord, nowMs: number): readonly string[] {
  return migrations
    .slice(-LINES_MAX)
    .reverse()
    .map(({ from, to, at: when, reason }) => {
      const where =
        to === null ? `left ${from} for no other node yet` : `moved from ${from} to ${to}`;
      return `${where}, ${at(when, nowMs)} (${reason})`;
    });
}

function progressLines({ progress }: TaskRecord): readonly string[] {
  if (progress === undefined || progress === null) return ["no progress was reported"];
  return [`progress: ${cell(JSON.stringify(progress), 200)}`];
}

function tookLines(record: TaskRecord, nowMs: number): readonly string[] {
  const { startedAt, finishedAt, submittedAt } = record;
  if (startedAt === null || finishedAt === null) return [`submitted ${at(submittedAt, nowMs)}`];
  const [submitted, started, finished] = [submittedAt, startedAt, finishedAt].map(timeOf);
  const waited = span((started ?? 0) - (submitted ?? 0));
  return [
    `its last try began ${waited} after the submit and took ${span((finished ?? 0) - (started ?? 0))}`,
  ];
}

function letterLine(id: string, seq: number): string {
  return `dead letter ${seq}: \`swarmctl dead get ${id}\` shows it, \`swarmctl dead retry ${id}\` submits it again`;
}
