import type { TaskRule } from "../violation.ts";

/**
 * A task is given to the life of a node that the mesh knows then: never to one that was given up, or
 * followed by another, well before.
 */
export const placedOnTheLiving: TaskRule = {
  name: "placed-on-the-living",
  invariant: "a task is placed on a life that has not ended",
  judge(story, run) {
    const attempts = new Set(story.changes.map(({ record }) => record?.attempt ?? 0));
    return [...attempts].flatMap((attempt) => {
      const placed = story.placementOf(attempt);
      if (placed?.record === undefined || placed.record.node === null) return [];
      const { node, incarnation } = placed.record;
      const known = placed.at - run.lateMs(placed.at, placed.at);
      const over = run.nodes.get(node)?.find((change) => {
        const later = change.incarnation > (incarnation ?? 0);
        const ended = change.state === "FAILED" || change.state === "LEFT";
        return change.at < known && (later || (ended && change.incarnation === incarnation));
      });
      if (over === undefined) return [];
      const problem = `attempt ${attempt} was placed on life ${incarnation} of ${node}, which had ended`;
      return [{ problem, places: [over.place, placed.place] }];
    });
  },
};
