import { isFinalStatus, type TaskStory } from "../story.ts";
import type { Finding, TaskRule } from "../violation.ts";

/** A record is kept this long after its last change; then it expires. */
const KEPT_MS = 23 * 60 * 60 * 1000;

/**
 * "Each task has exactly one final record, which never changes": no revision comes after it, the same
 * revision is told the same by everyone, and no record goes before its day is over.
 */
export const oneFinalRecord: TaskRule = {
  name: "one-final-record",
  invariant: "each task has exactly one final record, which never changes",
  judge(story) {
    return [...afterTheEnd(story), ...toldTwice(story), ...vanished(story), ...unreadable(story)];
  },
};

function afterTheEnd(story: TaskStory): Finding[] {
  return story.changes.flatMap((change, index) => {
    const before = story.changes[index - 1];
    if (before?.record === undefined || change.record === undefined) return [];
    if (!isFinalStatus(before.record.status)) return [];
    const problem = `was ${before.record.status} (revision ${before.revision}), and then became ${change.record.status} (revision ${change.revision})`;
    return [{ problem, places: [before.place, change.place] }];
  });
}

function toldTwice(story: TaskStory): Finding[] {
  return story.told.flatMap((change) => {
    const same = story.changes.find((one) => one.revision === change.revision);
    if (same === undefined || same.record?.digest === change.record?.digest) return [];
    const problem = `revision ${change.revision} was told in two ways`;
    return [{ problem, places: [same.place, change.place] }];
  });
}

function vanished(story: TaskStory): Finding[] {
  return story.changes.flatMap((change, index) => {
    const before = story.changes[index - 1];
    if (change.record !== undefined || before?.record === undefined) return [];
    if (change.at - before.at >= KEPT_MS) return [];
    const problem = `its record went, ${Math.round((change.at - before.at) / 1000)} s after its last change`;
    return [{ problem, places: [before.place, change.place] }];
  });
}

function unreadable(story: TaskStory): Finding[] {
  return story.unreadable.map(({ place, problem }) => ({
    problem: `has a record that is none: ${problem}`,
    places: [place],
  }));
}
