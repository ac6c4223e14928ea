import type { TaskRule } from "../violation.ts";

/**
 * "A running one gets its abort signal and a grace period": a handler of a cancelled task does not come
 * to its end long after. Said only where no fault could have swallowed the order to stop, and of
 * handlers that heed their signal.
 */
export const cancelStops: TaskRule = {
  name: "cancel-stops",
  invariant: "a cancelled task is told to stop",
  judge(story, run) {
    const { final } = story;
    if (final?.record?.status !== "cancelled") return [];
    const { observersMs, graceMs } = run.margins;
    return story.ends.flatMap((end) => {
      const late = end.at > final.at + observersMs + graceMs;
      if (!late || end.how === "aborted" || run.disturbed(final.at, end.at)) return [];
      const seconds = ((end.at - final.at) / 1000).toFixed(1);
      const problem = `attempt ${end.attempt} ended by itself ${seconds} s after the task was cancelled`;
      return [{ problem, places: [final.place, end.place] }];
    });
  },
};
