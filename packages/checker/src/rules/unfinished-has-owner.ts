import type { Run } from "../run.ts";
import { type Change, isFinalStatus, type TaskStory } from "../story.ts";
import type { Finding, TaskRule } from "../violation.ts";

/**
 * "Every task not final is waiting, has a living node, or has a due time": when the run is over, the
 * message of such a task is still in a stream (it is what a new leader would find it by); one that
 * runs is on a life that has not ended, and its try has begun and not ended without a word.
 */
export const unfinishedHasOwner: TaskRule = {
  name: "unfinished-has-owner",
  invariant: "every task not final is waiting, has a living node, or has a due time",
  judge(story, run) {
    const { last } = story;
    if (run.end === undefined || last?.record === undefined) return [];
    if (isFinalStatus(last.record.status)) return [];
    const places = [last.place, run.end.place];
    if (run.waitingKnown && !story.waiting) {
      const problem = `is ${last.record.status} at the end, and no message in a stream stands for it`;
      return [{ problem, places }];
    }
    if (last.record.status === "running") return ofRunning(story, run, last);
    if (last.record.dueAt !== undefined) return [];
    return [{ problem: `is ${last.record.status} at the end and has no due time`, places }];
  },
};

function ofRunning(story: TaskStory, run: Run, last: Change): readonly Finding[] {
  const { record } = last;
  if (record === undefined || record.node === null || run.end === undefined) return [];
  const { attempt, node } = record;
  const life = run.nodes.get(node)?.findLast((one) => one.at <= (run.end?.at ?? 0));
  const gone = life?.state === "FAILED" || life?.state === "LEFT";
  if (life !== undefined && (gone || life.incarnation > (record.incarnation ?? 0))) {
    const problem = `is running at the end on ${node}, whose life has ended`;
    return [{ problem, places: [last.place, life.place] }];
  }
  const lateMs = run.margins.faultMs;
  const ended = story.ends.find((one) => one.attempt === attempt && one.how !== "aborted");
  if (ended !== undefined && run.end.at - ended.at > lateMs) {
    const problem = `is running at the end, though attempt ${attempt} ended long before`;
    return [{ problem, places: [last.place, ended.place] }];
  }
  const placed = story.placementOf(attempt);
  const started = story.starts.some((one) => one.attempt === attempt);
  if (placed === undefined || started || !run.watchesRunsOf(record.capability)) return [];
  if (run.end.at - placed.at <= lateMs) return [];
  const problem = `attempt ${attempt} was placed on ${node} long before the end and never started`;
  return [{ problem, places: [placed.place, run.end.place] }];
}
