import type { TaskRule } from "../violation.ts";

/**
 * A task may run more than once, an attempt may not: after a node is thought dead the next attempt
 * begins elsewhere, but no attempt is ever started a second time, in whatever process.
 */
export const attemptRunsOnce: TaskRule = {
  name: "attempt-runs-once",
  invariant: "no attempt is started twice",
  judge(story) {
    return story.starts.flatMap((start, index) => {
      const earlier = story.starts.findIndex((one) => one.attempt === start.attempt);
      const first = story.starts[earlier];
      if (first === undefined || earlier === index) return [];
      const where = first.pid === start.pid ? "in the same process" : "in another process";
      return [
        {
          problem: `attempt ${start.attempt} was started a second time, ${where}`,
          places: [first.place, start.place],
        },
      ];
    });
  },
};
