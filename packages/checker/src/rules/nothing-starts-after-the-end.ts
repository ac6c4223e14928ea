import type { TaskRule } from "../violation.ts";

/**
 * What is over does not begin: no try starts once the final record was stored, a cancelled task's
 * least of all. A dispatch that was on its way may arrive a little later; after a fault, as much later
 * as a node believes in its lease.
 */
export const nothingStartsAfterTheEnd: TaskRule = {
  name: "nothing-starts-after-the-end",
  invariant: "no try starts after the final record",
  judge(story, run) {
    const { final } = story;
    if (final === undefined) return [];
    return story.starts.flatMap((start) => {
      if (start.at <= final.at + run.lateMs(final.at, start.at)) return [];
      const seconds = ((start.at - final.at) / 1000).toFixed(1);
      const problem = `attempt ${start.attempt} was started ${seconds} s after the task was ${final.record?.status}`;
      return [{ problem, places: [final.place, start.place] }];
    });
  },
};
