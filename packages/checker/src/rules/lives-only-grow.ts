import type { NodeState } from "@swarm-mesh/protocol";
import type { LifeChange, NodeChange, Run } from "../run.ts";
import type { Finding, RunRule } from "../violation.ts";

/** The arrows of a node, written down a second time. The same state again is no arrow. */
const ARROWS: Readonly<Record<NodeState, readonly NodeState[]>> = {
  DISCOVERING: ["JOINING"],
  JOINING: ["ACTIVE", "FAILED", "LEAVING"],
  ACTIVE: ["SYNCING", "DEGRADED", "FAILED", "LEAVING"],
  SYNCING: ["ACTIVE", "DEGRADED", "FAILED", "LEAVING"],
  DEGRADED: ["ACTIVE", "FAILED", "LEAVING"],
  LEAVING: ["LEFT", "FAILED"],
  LEFT: ["JOINING"],
  FAILED: ["JOINING"],
};

/**
 * "A new incarnation": each life of a node has a larger number than the one before, in its records and
 * in its leases, and its state goes along the arrows.
 */
export const livesOnlyGrow: RunRule = {
  name: "lives-only-grow",
  invariant: "each life of a node has a larger number than the one before",
  judgeRun(run: Run) {
    return [
      ...[...run.nodes].flatMap(([node, changes]) => records(node, changes)),
      ...[...run.nodeLeases].flatMap(([node, changes]) => leases(node, changes)),
    ];
  },
};

function records(node: string, changes: readonly NodeChange[]): Finding[] {
  return changes.flatMap((to, index) => {
    const from = changes[index - 1];
    if (from === undefined) return [];
    const places = [from.place, to.place];
    const problems: string[] = [];
    if (to.incarnation < from.incarnation) {
      problems.push(`${node} went from life ${from.incarnation} back to ${to.incarnation}`);
    }
    // A record in state JOINING has its predecessor's number: its own is that write's revision.
    if (from.state === "JOINING" && to.state !== "JOINING" && to.incarnation <= from.incarnation) {
      problems.push(`${node} joined again as life ${to.incarnation}, which it had before`);
    }
    if (from.state !== to.state && !ARROWS[from.state].includes(to.state)) {
      problems.push(`${node} went from ${from.state} to ${to.state}`);
    }
    return problems.map((problem) => ({ problem, places }));
  });
}

function leases(node: string, changes: readonly LifeChange[]): Finding[] {
  const held = changes.filter((change) => change.incarnation !== null);
  return held.flatMap((to, index) => {
    const from = held[index - 1];
    if (from === undefined || (to.incarnation ?? 0) >= (from.incarnation ?? 0)) return [];
    const problem = `the lease of ${node} went from life ${from.incarnation} back to ${to.incarnation}`;
    return [{ problem, places: [from.place, to.place] }];
  });
}
