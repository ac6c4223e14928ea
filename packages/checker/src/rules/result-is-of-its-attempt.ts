import type { TaskRule } from "../violation.ts";

/**
 * Effects are of one attempt only: a task succeeded by the attempt in its record, whose handler had come
 * to its end before the record was stored.
 */
export const resultIsOfItsAttempt: TaskRule = {
  name: "result-is-of-its-attempt",
  invariant: "a task succeeds by the attempt in its record",
  judge(story, run) {
    const { final } = story;
    if (final?.record?.status !== "succeeded") return [];
    const { attempt, capability } = final.record;
    const told =
      run.watchesRunsOf(capability) || story.starts.some((start) => start.attempt === attempt);
    if (!told) return [];
    const own = story.ends.filter((end) => end.attempt === attempt);
    const latest = final.at + run.margins.observersMs;
    if (own.some((end) => end.how === "ok" && end.at <= latest)) return [];
    return [
      {
        problem: `succeeded by attempt ${attempt}, which had not come to its end`,
        places: [final.place, ...own.map((end) => end.place)],
      },
    ];
  },
};
