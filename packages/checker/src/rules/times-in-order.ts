import type { Run } from "../run.ts";
import { isFinalStatus, type RecordFacts } from "../story.ts";
import type { TaskRule } from "../violation.ts";

/**
 * A record's times make sense: submitted, then started, then finished, as far as clocks agree; it is
 * finished exactly when it is final, and has a due time exactly while it waits for a retry.
 */
export const timesInOrder: TaskRule = {
  name: "times-in-order",
  invariant: "a record's times are in order",
  judge(story, run) {
    return story.changes.flatMap((change) => {
      const problem = change.record === undefined ? undefined : problemOf(change.record, run);
      return problem === undefined ? [] : [{ problem, places: [change.place] }];
    });
  },
};

function problemOf(record: RecordFacts, run: Run): string | undefined {
  const { submittedAt, startedAt, finishedAt, dueAt, status } = record;
  const tolerance = run.margins.observersMs;
  if (startedAt !== undefined && startedAt + tolerance < submittedAt) {
    return "started before it was submitted";
  }
  if (finishedAt !== undefined && finishedAt + tolerance < (startedAt ?? submittedAt)) {
    return "finished before it started";
  }
  const final = isFinalStatus(status);
  if (final !== (finishedAt !== undefined)) {
    return final ? `is ${status} and was never finished` : `is ${status} and was finished`;
  }
  if ((status === "retrying") !== (dueAt !== undefined)) {
    return dueAt === undefined ? "is retrying without a due time" : `is ${status} and due`;
  }
  return undefined;
}
