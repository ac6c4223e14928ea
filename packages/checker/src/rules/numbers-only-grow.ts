import type { Change, RecordFacts, TaskStory } from "../story.ts";
import type { Finding, TaskRule } from "../violation.ts";

/** The numbers that fence, and those that count: none ever goes back. */
const NUMBERS = [
  "attempt",
  "epoch",
  "tries",
  "migrations",
] as const satisfies readonly (keyof RecordFacts)[];

/**
 * "Each only grows": attempt and epoch of a task's record never go back from one revision to the next,
 * nor do its failed tries and moves; and what the task is (capability, tries allowed) never changes.
 */
export const numbersOnlyGrow: TaskRule = {
  name: "numbers-only-grow",
  invariant: "attempt and epoch only grow",
  judge(story) {
    return story.changes.flatMap((to, index) => {
      const from = story.changes[index - 1];
      return from === undefined ? [] : [...back(from, to), ...other(from, to, story)];
    });
  },
};

function back(from: Change, to: Change): Finding[] {
  return NUMBERS.flatMap((name) => {
    const [before, after] = [
      from.record?.[name] ?? 0,
      to.record?.[name] ?? Number.POSITIVE_INFINITY,
    ];
    if (after >= before) return [];
    const problem = `its ${name} went from ${before} to ${after}`;
    return [{ problem, places: [from.place, to.place] }];
  });
}

function other(from: Change, to: Change, story: TaskStory): Finding[] {
  if (from.record === undefined || to.record === undefined) return [];
  const same =
    from.record.capability === to.record.capability &&
    from.record.maxAttempts === to.record.maxAttempts &&
    from.record.submittedAt === to.record.submittedAt;
  if (same) return [];
  return [
    {
      problem: `${story.id} became another task under the same id`,
      places: [from.place, to.place],
    },
  ];
}
