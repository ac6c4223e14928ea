/** Why a capability is, or is not, served: who offers it, who of them is ready, which slots are free. */
import { isGone, type Labels, type NodeState } from "@swarm-mesh/protocol";
import { timeOf } from "@swarm-mesh/runtime";
import {
  type Cause,
  isLiving,
  isReady,
  type LaneFact,
  type MeshFacts,
  type NodeFact,
  silentNodes,
} from "./facts.ts";
import { span } from "./text.ts";
import { count, few, heldBack, labelsText, names, since } from "./wording.ts";

/** What stands between a waiting task and a slot. */
export interface Supply {
  readonly cause: Cause;
  /** Without a subject of its own, so that it may follow `t1 waits: `. */
  readonly clause: string;
  readonly evidence: readonly string[];
}

/** Why tasks of this capability that require these labels are, or are not, given to a node. */
export function supplyOf(
  mesh: MeshFacts,
  capability: string,
  requires: Labels | undefined,
  oldestMs: number | undefined,
): Supply {
  const supply = supplyByNodes(mesh, capability, requires, oldestMs);
  const setting = mesh.paused.get(capability);
  if (setting === undefined) return supply;
  return {
    cause: "paused",
    clause: `${capability} is paused ${heldBack(setting, mesh.nowMs)}`,
    evidence: [
      `\`swarmctl capability resume ${capability}\` lets it go on`,
      `besides: ${supply.clause}`,
      ...supply.evidence,
    ],
  };
}

function supplyByNodes(
  mesh: MeshFacts,
  capability: string,
  requires: Labels | undefined,
  oldestMs: number | undefined,
): Supply {
  const offering = mesh.nodes.filter(
    ({ record }) => !isGone(record.state) && record.capabilities.includes(capability),
  );
  if (offering.length === 0) return nobodyOffers(mesh, capability);
  const labelled = offering.filter(({ record }) => hasLabels(record.labels, requires));
  if (labelled.length === 0) return labelsNowhere(mesh, offering, requires ?? {});
  const ready = labelled.filter(isReady);
  if (ready.length === 0) {
    const what =
      requires === undefined ? capability : `${capability} and has ${labelsText(requires)}`;
    return noneReady(mesh, what, labelled);
  }
  const open = ready.filter(({ record }) => !isShunned(mesh, record.id));
  const given = open.length > 0 ? open : ready;
  const seats = given.map((node) => seatsOf(node, capability, mesh));
  const total = sum(seats.map(({ slots }) => slots));
  const used = sum(seats.map(({ slots, used }) => Math.min(slots, used)));
  const others = labelled.filter((node) => !given.includes(node));
  const source = mesh.running === undefined ? ", says its lease" : "";
  const evidence = [
    ...few(seats.map((seat) => `${seat.id}: ${seat.used} of ${seat.slots} slots busy${source}`)),
    ...few(others.map((node) => stateLine(node, mesh))),
  ];
  if (open.length === 0) {
    const who = names(ready.map(({ record }) => record.id));
    const clause = `${who} did not take a task a moment ago and ${ready.length === 1 ? "is" : "are"} left alone for a while`;
    return { cause: "shunned", clause, evidence: [...refusalLines(mesh), ...evidence] };
  }
  const offer = names(given.map(({ record }) => record.id));
  if (used < total) {
    const clause = `${total - used} of ${count(total, "slot")} for ${capability} ${total - used === 1 ? "is" : "are"} free on ${offer}`;
    return { cause: "free", clause, evidence };
  }
  const oldest = oldestMs === undefined ? "" : ` (the oldest waits ${span(oldestMs)})`;
  const all = total === 1 ? "the only slot" : `all ${total} slots`;
  const clause = `${all} for ${capability} on ${offer} ${total === 1 ? "is" : "are"} busy${oldest}`;
  return { cause: "slots_busy", clause, evidence };
}

/** Is the monitor's brake on, by its defaults and what is seen now? Then who is suspect, in words. */
function brakeText(mesh: MeshFacts): string | undefined {
  const { massLossMin, massLossShare, massLossWindowMs } = mesh.limits;
  const living = mesh.nodes.filter(({ record }) => isLiving(record)).length;
  const failed = mesh.nodes.filter(
    ({ record }) =>
      record.state === "FAILED" && mesh.nowMs - timeOf(record.updatedAt) < massLossWindowMs,
  ).length;
  const silent = silentNodes(mesh).map(({ record }) => record.id);
  const many = silent.length + failed;
  if (silent.length === 0 || many < massLossMin || many <= massLossShare * (living + failed)) {
    return undefined;
  }
  const also = failed === 0 ? "" : `, and ${failed} failed just now`;
  return `${silent.length} of ${count(living, "living node")} do not answer: ${names(silent)}${also}`;
}

/** What keeps the monitor from having judged a silent node yet. */
export function silenceOf(mesh: MeshFacts): Supply {
  const { leaseTtlMs, massLossMin, massLossShare } = mesh.limits;
  const brake = brakeText(mesh);
  if (brake !== undefined) {
    const share = `${Math.round(massLossShare * 100)} %`;
    return {
      cause: "brake",
      clause: "the health-monitor's brake is on, so leases decide",
      evidence: [
        brake,
        `the brake acts from ${massLossMin} nodes and over ${share} on (by default); a lease is gone at most ${span(leaseTtlMs)} after its last renewal`,
      ],
    };
  }
  if (!mesh.services.has("health-monitor")) {
    const clause = "no health-monitor runs, so nobody is failed";
    return { cause: "no_monitor", clause, evidence: ["no health-monitor answers discovery"] };
  }
  return {
    cause: "node_silent",
    clause: `the health-monitor has not judged it yet; it does within ${span(leaseTtlMs)} or so`,
    evidence: [],
  };
}

/** The node and its state, in a line of evidence. */
export function stateLine(node: NodeFact, mesh: MeshFacts): string {
  return `${node.record.id} ${stateText(node, mesh)}`;
}

function stateText({ record, lease, answers, cordon }: NodeFact, mesh: MeshFacts): string {
  const { id, state, reason, updatedAt } = record;
  const held = cordon === undefined ? "" : `; it is cordoned ${heldBack(cordon, mesh.nowMs)}`;
  const text = `is ${state} ${since(updatedAt, mesh.nowMs)}: ${reason}${held}`;
  if (!isLiving(record)) return text;
  if (answers === false) return `${text}; it does not answer a ping`;
  if (lease === undefined) return `${text}; it has no lease`;
  return isShunned(mesh, id) ? `${text}; it did not take a task a moment ago` : text;
}

/** Did it not take a task so lately that it is given none? */
export function isShunned(mesh: MeshFacts, nodeId: string): boolean {
  return mesh.refusals.some(
    ({ node, atMs }) => node === nodeId && mesh.nowMs - atMs < mesh.limits.shunMs,
  );
}

/** Which tasks were refused, by whom. */
export function refusalLines(mesh: MeshFacts, nodeId?: string): readonly string[] {
  return mesh.refusals
    .filter(({ node }) => nodeId === undefined || node === nodeId)
    .slice(0, REFUSALS_SHOWN)
    .map(({ node, task, atMs, reason }) => {
      const did = reason === "refused" ? "refused" : "was not there for";
      return `${node} ${did} ${task} ${span(mesh.nowMs - atMs)} ago`;
    });
}

const REFUSALS_SHOWN = 3;

/** Tasks that wait in all lanes; `undefined`: not known. */
export function waitingIn(lanes: readonly LaneFact[]): number | undefined {
  const known = lanes.map(({ waiting }) => waiting);
  return known.includes(undefined) ? undefined : sum(known.map((waiting) => waiting ?? 0));
}

/** For how long the oldest waiting task has waited, ms. */
export function oldestIn(lanes: readonly LaneFact[], nowMs: number): number | undefined {
  const times = lanes.flatMap(({ oldestAtMs }) => (oldestAtMs === undefined ? [] : [oldestAtMs]));
  return times.length === 0 ? undefined : nowMs - Math.min(...times);
}

/** Each lane that holds something, in a line. */
export function laneLines(lanes: readonly LaneFact[], nowMs: number): readonly string[] {
  return lanes
    .filter(({ stored }) => stored > 0)
    .map(({ lane, stored, waiting, oldestAtMs }) => {
      const waits = waiting === undefined ? `${stored} stored` : `${waiting} of ${stored} wait`;
      const oldest = oldestAtMs === undefined ? "" : `, the oldest for ${span(nowMs - oldestAtMs)}`;
      return `lane ${lane}: ${waits}${oldest}`;
    });
}

/** A line of evidence: who leads, or that nobody does. */
export function leaderLine({ leader, services }: MeshFacts): string {
  const some = services.has("coordinator") ? "a" : "no";
  const there = `${some} coordinator answers discovery`;
  if (leader === undefined) return `nobody holds the coordinators' lease; ${there}`;
  const { instance, host, pid } = leader.lease;
  const who = `${instance} (process ${pid} on ${host})`;
  if (leader.answers === false) return `${who} holds the lease and does not answer; ${there}`;
  return `${who} leads`;
}

function nobodyOffers(mesh: MeshFacts, capability: string): Supply {
  const former = mesh.nodes.filter(({ record }) => record.capabilities.includes(capability));
  const offered = new Set(
    mesh.nodes
      .filter(({ record }) => !isGone(record.state))
      .flatMap(({ record }) => record.capabilities),
  );
  const there = [...offered].sort();
  return {
    cause: "nobody_offers",
    clause: `no node offers ${capability}`,
    evidence: [
      ...few(former.map((node) => `${node.record.id} offered it, and ${stateText(node, mesh)}`)),
      there.length === 0
        ? "no node is there that offers anything"
        : `the nodes that are there offer ${names(there)}`,
    ],
  };
}

function labelsNowhere(mesh: MeshFacts, offering: readonly NodeFact[], requires: Labels): Supply {
  const missing = Object.entries(requires).filter(
    ([name, value]) => !offering.some(({ record }) => record.labels[name] === value),
  );
  const wanted = labelsText(
    Object.fromEntries(missing.length > 0 ? missing : [...pairsOf(requires)]),
  );
  const elsewhere = mesh.nodes.filter(
    (node) => !offering.includes(node) && hasLabels(node.record.labels, requires),
  );
  const who = names(offering.map(({ record }) => record.id));
  const both = missing.length > 0 ? "" : " together";
  return {
    cause: "labels_nowhere",
    clause: `it requires ${labelsText(requires)}, and no node that offers the capability (${who}) has ${wanted}${both}`,
    evidence: [
      ...few(offering.map(({ record }) => `${record.id} has ${labelsText(record.labels)}`)),
      ...few(
        elsewhere.map(({ record: { id, state } }) =>
          isGone(state)
            ? `${id} has the labels, but is ${state}`
            : `${id} has the labels, but does not offer it`,
        ),
      ),
    ],
  };
}

/** Every node that would do is in a state in which it is given nothing. */
function noneReady(mesh: MeshFacts, what: string, nodes: readonly NodeFact[]): Supply {
  const who = names(nodes.map(({ record }) => record.id));
  const one = nodes.length === 1;
  const whose = one
    ? `${who}, the only node that offers ${what},`
    : `${who}, all that offer ${what},`;
  const lines = few(nodes.map((node) => stateLine(node, mesh)));
  if (nodes.every(({ record, answers }) => isLiving(record) && answers === false)) {
    const silence = silenceOf(mesh);
    const clause = `${whose} ${one ? "does" : "do"} not answer; ${silence.clause}`;
    return { cause: silence.cause, clause, evidence: [...silence.evidence, ...lines] };
  }
  if (nodes.every(({ cordon }) => cordon !== undefined)) {
    return {
      cause: "cordoned",
      clause: `${whose} ${one ? "is" : "are"} cordoned`,
      evidence: lines,
    };
  }
  const states = new Set(nodes.map(({ record }) => record.state));
  const [state] = states;
  const known = states.size === 1 && state !== undefined ? NOT_READY[state] : undefined;
  const is = one ? "is" : "are";
  if (known !== undefined) {
    return { cause: known.cause, clause: `${whose} ${is} ${known.word}`, evidence: lines };
  }
  return { cause: "none_ready", clause: `${whose} ${is} not ready for work`, evidence: lines };
}

const NOT_READY: Partial<Record<NodeState, { readonly cause: Cause; readonly word: string }>> = {
  LEAVING: { cause: "draining", word: "draining" },
  DEGRADED: { cause: "degraded", word: "degraded" },
  JOINING: { cause: "joining", word: "still joining" },
};

interface Seats {
  readonly id: string;
  readonly slots: number;
  readonly used: number;
}

/** The slots of the agents that offer it, and what runs there; by the lease when no record tells. */
function seatsOf({ record, lease }: NodeFact, capability: string, mesh: MeshFacts): Seats {
  const agents = record.agents.filter((agent) => agent.capabilities.includes(capability));
  const slots = sum(agents.map((agent) => agent.slots));
  const shared = new Set(agents.flatMap((agent) => agent.capabilities));
  const used = mesh.running?.filter(
    (task) =>
      task.node === record.id &&
      task.incarnation === record.incarnation &&
      shared.has(task.capability),
  ).length;
  return { id: record.id, slots, used: used ?? Math.min(slots, lease?.running ?? 0) };
}

function hasLabels(labels: Labels, requires: Labels | undefined): boolean {
  return pairsOf(requires ?? {}).every(([name, value]) => labels[name] === value);
}

function pairsOf(labels: Labels): readonly (readonly [string, string])[] {
  return Object.entries(labels);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
