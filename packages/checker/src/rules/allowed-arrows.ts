import type { TaskStatus } from "@swarm-mesh/protocol";
import { stepsOf, type TaskStory } from "../story.ts";
import type { Finding, TaskRule } from "../violation.ts";

/**
 * The arrows of a task, written down a second time: what the product uses may be wrong. From a final
 * state none leads on (see one-final-record).
 */
const ARROWS: Readonly<Record<TaskStatus, readonly TaskStatus[]>> = {
  running: ["running", "retrying", "succeeded", "failed", "cancelled"],
  retrying: ["running", "cancelled"],
  succeeded: [],
  failed: [],
  cancelled: [],
  rejected: [],
};
/** What a task without a record may become. */
const FIRST: readonly TaskStatus[] = ["running", "cancelled", "rejected"];

/** A record's status goes along the arrows of the task's life cycle, and no others. */
export const allowedArrows: TaskRule = {
  name: "allowed-arrows",
  invariant: "a task's status goes along the arrows of its life cycle",
  judge: (story, run) => [...first(story, run.watches("records")), ...next(story)],
};

function first(story: TaskStory, fromTheStart: boolean): Finding[] {
  const change = story.changes[0];
  if (change?.record === undefined) return [];
  const isFirst = change.previous === 0 || (change.previous === undefined && fromTheStart);
  if (!isFirst || FIRST.includes(change.record.status)) return [];
  return [{ problem: `began as ${change.record.status}`, places: [change.place] }];
}

function next(story: TaskStory): Finding[] {
  return stepsOf(story).flatMap(({ from, to }) => {
    if (from.record === undefined || to.record === undefined) return [];
    const allowed = ARROWS[from.record.status];
    if (allowed.length === 0 || allowed.includes(to.record.status)) return [];
    const problem = `went from ${from.record.status} to ${to.record.status}`;
    return [{ problem, places: [from.place, to.place] }];
  });
}
