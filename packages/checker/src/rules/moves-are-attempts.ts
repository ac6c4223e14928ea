import { type Step, stepsOf } from "../story.ts";
import type { TaskRule } from "../violation.ts";

/**
 * "Each placement swaps attempt n for n + 1, so each task moves once": a record is given to another
 * node, or to another life of it, only with the next attempt, and an attempt is never skipped.
 */
export const movesAreAttempts: TaskRule = {
  name: "moves-are-attempts",
  invariant: "every placement is the next attempt, and every next attempt is a placement",
  judge(story) {
    return stepsOf(story).flatMap((step) => {
      const problem = problemOf(step);
      return problem === undefined ? [] : [{ problem, places: [step.from.place, step.to.place] }];
    });
  },
};

function problemOf({ from, to }: Step): string | undefined {
  const [a, b] = [from.record, to.record];
  if (a === undefined || b === undefined) return undefined;
  const placed = b.attempt - a.attempt;
  if (placed > 1) return `attempt ${a.attempt} was followed by ${b.attempt}`;
  if (placed === 1 && b.status !== "running") return `became ${b.status} with a new attempt`;
  if (placed === 1 && a.status === "running" && b.migrations !== a.migrations + 1) {
    return `went from attempt ${a.attempt} to ${b.attempt} without a move that says why`;
  }
  if (placed !== 0) return undefined;
  if (a.status === "retrying" && b.status === "running")
    return `attempt ${a.attempt} was placed twice`;
  if (a.node !== b.node || a.incarnation !== b.incarnation) {
    return `attempt ${a.attempt} went from ${lifeOf(a)} to ${lifeOf(b)}`;
  }
  return undefined;
}

function lifeOf(record: { readonly node: string | null; readonly incarnation: number | null }) {
  return record.node === null ? "nobody" : `${record.node} (life ${record.incarnation})`;
}
