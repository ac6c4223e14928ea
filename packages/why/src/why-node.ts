/** Why is this node as it is? Facts in, answer out. */
import { isGone, type NodeRecord } from "@swarm-mesh/protocol";
import {
  type Answer,
  isLiving,
  leads,
  type MeshFacts,
  type NodeFact,
  type NodeFacts,
} from "./facts.ts";
import { isShunned, leaderLine, refusalLines, silenceOf } from "./supply.ts";
import { at, count, heldBack, labelsText, moment, names, since } from "./wording.ts";

/** Why the node is as it is, and gets tasks or none. */
export function whyNode(facts: NodeFacts): Answer {
  const { id, mesh } = facts;
  const node = mesh.nodes.find(({ record }) => record.id === id);
  if (node === undefined) return unknown(facts);
  const evidence = [...eventLines(facts), ...loadLines(node, mesh), offerLine(node.record)];
  const { record } = node;
  if (isLiving(record) && node.answers === false) {
    const silence = silenceOf(mesh);
    return {
      cause: silence.cause,
      sentence: `${id} is ${record.state} in its record and does not answer; ${silence.clause}.`,
      evidence: [...silence.evidence, leaseLine(node), ...evidence],
    };
  }
  const state = (text: string): string => `${id} ${text} ${since(record.updatedAt, mesh.nowMs)}`;
  const because = `because ${reasonOf(record)}`;
  switch (record.state) {
    case "FAILED": {
      const tasks = heldLine(node, mesh);
      return {
        cause: "node_failed",
        sentence: `${state("is FAILED")}, ${because}.`,
        evidence: [...tasks, ...evidence],
      };
    }
    case "LEFT":
      return {
        cause: "left",
        sentence: `${id} left in order ${at(record.updatedAt, mesh.nowMs)}: ${record.reason}.`,
        evidence,
      };
    case "LEAVING": {
      const held = tasksOn(node, mesh);
      const left = held === undefined ? "" : `, with ${count(held, "task")} left`;
      return {
        cause: "draining",
        sentence: `${state("is draining")}${left}: ${record.reason}.`,
        evidence,
      };
    }
    case "DEGRADED":
      return {
        cause: "degraded",
        sentence: `${state("is DEGRADED")} and gets nothing new, ${because}.`,
        evidence: [leaseLine(node), ...evidence],
      };
    case "JOINING":
    case "DISCOVERING":
      return {
        cause: "joining",
        sentence: `${state("is joining")}: it has registered, and has not taken its lease yet.`,
        evidence,
      };
    case "ACTIVE":
    case "SYNCING":
      return active(node, mesh, evidence);
  }
}

function active(node: NodeFact, mesh: MeshFacts, evidence: readonly string[]): Answer {
  const { record } = node;
  const { id, slots } = record;
  if (node.lease === undefined) {
    return {
      cause: "no_lease",
      sentence: `${id} is ${record.state}, but holds no lease of this life, so it gets nothing.`,
      evidence,
    };
  }
  if (node.cordon !== undefined) {
    const held = tasksOn(node, mesh) ?? node.lease.running;
    return {
      cause: "cordoned",
      sentence: `${id} is ${record.state} and cordoned ${heldBack(node.cordon, mesh.nowMs)}; it keeps ${count(held, "task")} and is given nothing new.`,
      evidence: [`\`swarmctl node uncordon ${id}\` gives it work again`, ...evidence],
    };
  }
  const refused = refusalLines(mesh, id);
  if (isShunned(mesh, id)) {
    return {
      cause: "shunned",
      sentence: `${id} is ACTIVE, but did not take a task a moment ago and is given nothing for ${mesh.limits.shunMs} ms (by default) after each.`,
      evidence: [...refused, ...evidence],
    };
  }
  const used = tasksOn(node, mesh) ?? node.lease.running;
  const idle = leads(mesh) ? [] : [`${leaderLine(mesh)}: it is given nothing until one leads`];
  const lines = [...refused, ...idle, ...evidence];
  if (used >= slots) {
    const all = slots === 1 ? "its only slot is" : `all its ${slots} slots are`;
    return { cause: "slots_busy", sentence: `${id} is ACTIVE, and ${all} busy.`, evidence: lines };
  }
  return {
    cause: "active",
    sentence: `${id} is ACTIVE ${since(record.joinedAt, mesh.nowMs)}; ${used} of ${count(slots, "slot")} busy.`,
    evidence: lines,
  };
}

function unknown({ id, event, mesh }: NodeFacts): Answer {
  if (event !== undefined) {
    return {
      cause: "forgotten",
      sentence: `${id} was here once; its record is gone, as that of every node a while after its end.`,
      evidence: [`last event ${moment(event.atMs, mesh.nowMs)}: ${event.kind}, ${event.reason}`],
    };
  }
  const known = mesh.nodes.map(({ record }) => record.id).sort();
  return {
    cause: "never_joined",
    sentence: `${id} never joined: the mesh knows no node of this id.`,
    evidence: [
      "it has no record, and no event of it is stored",
      known.length === 0 ? "there are no nodes" : `there are ${names(known)}`,
    ],
  };
}

function eventLines({ event, mesh }: NodeFacts): readonly string[] {
  if (event === undefined) return [];
  return [`${event.kind} ${moment(event.atMs, mesh.nowMs)}, says ${event.by}: ${event.reason}`];
}

function loadLines({ record, lease }: NodeFact, mesh: MeshFacts): readonly string[] {
  if (lease === undefined || isGone(record.state)) return [];
  const tasks = mesh.running?.filter((task) => task.node === record.id) ?? [];
  const ids = tasks.length === 0 ? "" : `: ${names(tasks.map(({ id }) => id))}`;
  return [
    `its lease says: ${lease.running} of ${lease.slots} slots in use, round trip ${lease.rttMs} ms, event loop ${lease.lagMs} ms late`,
    ...(mesh.running === undefined
      ? []
      : [`${count(tasks.length, "task")} on it by the records${ids}`]),
  ];
}

function leaseLine({ lease }: NodeFact): string {
  return lease === undefined ? "its lease is gone" : "its lease is still there";
}

function offerLine({ capabilities, labels, host, incarnation }: NodeRecord): string {
  return `life ${incarnation} on ${host}: offers ${names(capabilities)}, has ${labelsText(labels)}`;
}

/** What a failed node still has, by the records: what is yet to be moved. */
function heldLine(node: NodeFact, mesh: MeshFacts): readonly string[] {
  const held = tasksOn(node, mesh);
  if (held === undefined) return [];
  if (held === 0) return ["no task is on it any more"];
  const migrator = mesh.services.has("migrator");
  const who = migrator
    ? ""
    : "; no migrator answers discovery: the coordinator moves them, 30 s later";
  return [`${count(held, "task")} still to be moved away from it${who}`];
}

function tasksOn({ record }: NodeFact, mesh: MeshFacts): number | undefined {
  return mesh.running?.filter(
    (task) => task.node === record.id && task.incarnation === record.incarnation,
  ).length;
}

/** A reason, as part of a sentence. */
function reasonOf({ reason }: NodeRecord): string {
  return reason === "" ? "of no reason that is recorded" : reason;
}
