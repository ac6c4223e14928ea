import type { Run, Skew } from "../run.ts";
import { type Change, isFinalStatus, type RecordFacts, type TaskStory } from "../story.ts";
import type { TaskRule } from "../violation.ts";

/**
 * A record's times make sense: submitted, then started, then finished, as far as clocks agree; it is
 * finished exactly when it is final, and has a due time exactly while it waits for a retry.
 *
 * The store says when a task was submitted, the leader of the term that placed it when it started, and
 * the one that wrote the last record when it was finished. A leader whose clock a fault put wrong is
 * allowed that much, and no other.
 */
export const timesInOrder: TaskRule = {
  name: "times-in-order",
  invariant: "a record's times are in order",
  judge(story, run) {
    return story.changes.flatMap((change) => {
      const { record } = change;
      if (record === undefined) return [];
      const problem = orderProblem(story, change, run) ?? formProblem(record);
      return problem === undefined ? [] : [{ problem, places: [change.place] }];
    });
  },
};

const RIGHT: Skew = { least: 0, most: 0 };

function orderProblem(story: TaskStory, { record, at }: Change, run: Run): string | undefined {
  if (record === undefined) return undefined;
  const { observersMs } = run.margins;
  const problem = wrongOrder(record, { start: RIGHT, end: RIGHT, observersMs });
  if (problem === undefined) return undefined;
  const placed = story.placementOf(record.attempt);
  const start = run.skewOf(placed?.record?.epoch ?? record.epoch, placed?.at ?? at);
  return wrongOrder(record, { start, end: run.skewOf(record.epoch, at), observersMs });
}

function wrongOrder(
  { submittedAt, startedAt, finishedAt }: RecordFacts,
  { start, end, observersMs }: { start: Skew; end: Skew; observersMs: number },
): string | undefined {
  if (startedAt !== undefined && startedAt - start.least + observersMs < submittedAt) {
    return "started before it was submitted";
  }
  if (finishedAt === undefined) return undefined;
  const before = startedAt === undefined ? submittedAt : startedAt - start.most;
  return finishedAt - end.least + observersMs < before ? "finished before it started" : undefined;
}

function formProblem(record: RecordFacts): string | undefined {
  const { finishedAt, dueAt, status } = record;
  const final = isFinalStatus(status);
  if (final !== (finishedAt !== undefined)) {
    return final ? `is ${status} and was never finished` : `is ${status} and was finished`;
  }
  if ((status === "retrying") !== (dueAt !== undefined)) {
    return dueAt === undefined ? "is retrying without a due time" : `is ${status} and due`;
  }
  return undefined;
}
