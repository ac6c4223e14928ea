import type { TaskRule } from "../violation.ts";

/**
 * "No acknowledged submit is lost": when the run is over, a task whose PubAck a client saw has a
 * record, or its message still waits in a stream.
 */
export const acknowledgedIsKept: TaskRule = {
  name: "acknowledged-is-kept",
  invariant: "no acknowledged submit is lost",
  judge(story, run) {
    if (run.end === undefined || !run.waitingKnown || story.acknowledged === undefined) return [];
    if (story.waiting || story.last?.record !== undefined) return [];
    return [
      {
        problem: "was acknowledged, and has neither a record nor a message in a stream",
        places: [story.acknowledged, run.end.place],
      },
    ];
  },
};
