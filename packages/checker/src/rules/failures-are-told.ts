import type { TaskRule } from "../violation.ts";

/**
 * "Never silence": a task that failed or was rejected says why, and lies in the dead letters when the
 * run is over; and nothing else does.
 */
export const failuresAreTold: TaskRule = {
  name: "failures-are-told",
  invariant: "a failed or rejected task has an error and a dead letter",
  judge(story, run) {
    const { final } = story;
    const given = final?.record?.status === "failed" || final?.record?.status === "rejected";
    if (final?.record !== undefined && given) {
      const { status, errorCode } = final.record;
      if (errorCode === undefined) {
        return [{ problem: `is ${status} without an error`, places: [final.place] }];
      }
      const awaited = run.end !== undefined && run.watches("dead-letters");
      if (!awaited || story.deadLetters.length > 0) return [];
      return [{ problem: `is ${status} without a dead letter`, places: [final.place] }];
    }
    const [letter] = story.deadLetters;
    if (letter === undefined || final === undefined) return [];
    const problem = `has a dead letter, and is ${final.record?.status}`;
    return [{ problem, places: [final.place, letter] }];
  },
};
