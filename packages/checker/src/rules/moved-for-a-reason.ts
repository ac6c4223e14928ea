import type { Run } from "../run.ts";
import { type Change, stepsOf } from "../story.ts";
import type { TaskRule } from "../violation.ts";

/**
 * "Losing a node": a task is taken from a node as lost only when that life ended, by its record or by
 * its lease, at about that time or before. So two who ask for the same move get one.
 */
export const movedForAReason: TaskRule = {
  name: "moved-for-a-reason",
  invariant: "no task is taken from a node that lives",
  judge(story, run) {
    if (run.end === undefined || !run.watches("nodes") || !run.watches("leases")) return [];
    return stepsOf(story).flatMap(({ from, to }) => {
      const lost =
        to.record?.lastReason === "node_failed" &&
        to.record.migrations > (from.record?.migrations ?? 0);
      if (!lost || lifeEnded(from, to.at + run.margins.faultMs, run)) return [];
      const problem = `attempt ${from.record?.attempt} was taken from ${from.record?.node}, which had not ended`;
      return [{ problem, places: [from.place, to.place] }];
    });
  },
};

/** Had the life that has the task ended by then? */
function lifeEnded({ record }: Change, by: number, run: Run): boolean {
  const [node, life] = [record?.node ?? "", record?.incarnation ?? 0];
  const byRecord = (run.nodes.get(node) ?? []).some(({ at, incarnation, state }) => {
    const over = state === "FAILED" || state === "LEFT";
    return at <= by && (incarnation > life || (over && incarnation === life));
  });
  const leases = run.nodeLeases.get(node) ?? [];
  const last = leases.findLastIndex(({ incarnation }) => incarnation === life);
  return byRecord || (leases[last + 1]?.at ?? Number.POSITIVE_INFINITY) <= by;
}
