import type { Change, RecordFacts, TaskStory } from "../story.ts";
import type { Finding, TaskRule } from "../violation.ts";

/**
 * Every attempt is accounted for, by a failed try, by a move, or by being the one that runs or ended
 * well; tries used (attempts less moves) are never more than allowed; and no task fails with a try left
 * over that could help.
 */
export const triesAreCounted: TaskRule = {
  name: "tries-are-counted",
  invariant: "every try is accounted for, and there are at most as many as allowed",
  judge(story) {
    return story.changes.flatMap((change) => {
      const { record } = change;
      if (record === undefined) return [];
      const problem = uncounted(record) ?? tooMany(record, story) ?? givenUpEarly(record);
      return problem === undefined ? [] : [{ problem, places: placesOf(change) } satisfies Finding];
    });
  },
};

/** Attempts that neither failed nor moved: by status, how many there may be. */
function openAllowed(record: RecordFacts): readonly number[] {
  switch (record.status) {
    case "running":
    case "succeeded":
      return [1];
    case "retrying":
    case "rejected":
      return [0];
    case "failed":
      // Given up after a move too many, or because what it ended with could not be stored.
      if (record.errorCode === "too_many_losses") return [1];
      return record.errorCode === "payload_too_large" ? [0, 1] : [0];
    case "cancelled":
      return [0, 1];
  }
}

function uncounted(record: RecordFacts): string | undefined {
  const open = record.attempt - record.tries - record.migrations;
  if (openAllowed(record).includes(open)) return undefined;
  return `is ${record.status} at attempt ${record.attempt} with ${record.tries} failed tries and ${record.migrations} moves`;
}

function tooMany(record: RecordFacts, story: TaskStory): string | undefined {
  const used = record.attempt - record.migrations;
  const allowed = story.maxAttempts ?? record.maxAttempts;
  if (record.status !== "rejected" && record.maxAttempts !== allowed && record.attempt > 0) {
    return `may be tried ${record.maxAttempts} times, ${allowed} were asked for`;
  }
  return used > allowed ? `is at try ${used} of ${allowed}` : undefined;
}

function givenUpEarly(record: RecordFacts): string | undefined {
  const left = record.maxAttempts - (record.attempt - record.migrations);
  const hopeful = record.status === "failed" && record.errorRetryable && left > 0;
  return hopeful ? `failed with ${left} tries left, by an error worth trying again` : undefined;
}

function placesOf(change: Change): readonly number[] {
  return [change.place];
}
