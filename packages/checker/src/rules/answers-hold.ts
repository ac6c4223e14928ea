import type { Answer, TaskStory } from "../story.ts";
import type { TaskRule } from "../violation.ts";

/**
 * "An outcome of another node or attempt is answered `stale`" and has no effect; one that was answered
 * `recorded` is in the record: the node forgets it with that answer.
 */
export const answersHold: TaskRule = {
  name: "answers-hold",
  invariant: "a recorded outcome is in the record, a stale one is not",
  judge(story) {
    if (story.last?.record === undefined) return [];
    return story.answers.flatMap((answer) => {
      const problem =
        answer.answer === "recorded" ? unrecorded(answer, story) : effective(answer, story);
      if (problem === undefined) return [];
      return [{ problem, places: [answer.place, story.last?.place ?? answer.place] }];
    });
  },
};

function unrecorded({ node, attempt, ok }: Answer, story: TaskStory): string | undefined {
  if (ok) {
    const held = story.changes.some(
      ({ record }) =>
        record?.node === node &&
        record.attempt === attempt &&
        // A result the store would not take is recorded as the failure it is.
        (record.status === "succeeded" || record.errorCode === "payload_too_large"),
    );
    return held
      ? undefined
      : `the result of attempt ${attempt} on ${node} was answered "recorded", and no record has it`;
  }
  const held = story.changes.some(
    ({ record }) =>
      record !== undefined &&
      (record.lastTry >= attempt ||
        record.attempt > attempt ||
        record.status === "retrying" ||
        record.status === "failed"),
  );
  return held
    ? undefined
    : `the failure of attempt ${attempt} on ${node} was answered "recorded", and no record has it`;
}

function effective({ node, attempt, ok, answer }: Answer, story: TaskStory): string | undefined {
  if (!ok || answer !== "stale") return undefined;
  const final = story.final?.record;
  const taken = final?.status === "succeeded" && final.node === node && final.attempt === attempt;
  const recorded = story.answers.some(
    (one) => one.node === node && one.attempt === attempt && one.answer === "recorded",
  );
  return taken && !recorded
    ? `the result of attempt ${attempt} on ${node} was answered "stale", and stands in the record`
    : undefined;
}
