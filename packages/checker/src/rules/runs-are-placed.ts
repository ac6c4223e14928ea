import type { Run } from "../run.ts";
import type { Start, TaskStory } from "../story.ts";
import type { TaskRule } from "../violation.ts";

/**
 * "A task is three durable writes": nothing runs but what a record has given to that node, in that
 * life, before.
 */
export const runsArePlaced: TaskRule = {
  name: "runs-are-placed",
  invariant: "nothing runs that no record has placed there",
  judge(story, run) {
    if (!run.watches("records")) return [];
    return story.starts.flatMap((start) => {
      const problem = problemOf(start, story, run);
      if (problem === undefined) return [];
      const placed = story.placementOf(start.attempt);
      return [
        { problem, places: placed === undefined ? [start.place] : [placed.place, start.place] },
      ];
    });
  },
};

function problemOf(start: Start, story: TaskStory, run: Run): string | undefined {
  const { attempt } = start;
  const placed = story.placementOf(attempt);
  if (placed?.record === undefined) {
    // A change that was missed may have placed it; the last look shows that there were some.
    const missed = (story.last?.revision ?? 0) > (story.changes.at(-1)?.revision ?? 0);
    const known = missed && (story.last?.record?.attempt ?? 0) >= attempt;
    return known ? undefined : `attempt ${attempt} was started, and no record places it`;
  }
  if (start.at < placed.at - run.margins.observersMs) {
    return `attempt ${attempt} was started before its record was stored`;
  }
  const { node, incarnation } = placed.record;
  if (start.node !== undefined && start.node !== node) {
    return `attempt ${attempt} was placed on ${node} and started on ${start.node}`;
  }
  if (start.incarnation !== undefined && start.incarnation !== incarnation) {
    return `attempt ${attempt} was placed on life ${incarnation} of ${node} and started in ${start.incarnation}`;
  }
  return undefined;
}
