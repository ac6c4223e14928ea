import { isFinalStatus } from "../story.ts";
import type { TaskRule } from "../violation.ts";

/** What a client was told as the end of a task is what its one final record says. */
export const clientsSeeTheRecord: TaskRule = {
  name: "clients-see-the-record",
  invariant: "clients are told what the final record says",
  judge(story, run) {
    const { final } = story;
    return story.seen.flatMap((seen) => {
      if (!isFinalStatus(seen.status)) return [];
      if (final?.record === undefined) {
        const known = run.end !== undefined && run.watches("records");
        if (!known) return [];
        const problem = `a client was told that it ${seen.status}, and no record says so`;
        return [{ problem, places: [seen.place] }];
      }
      const { status, attempt } = final.record;
      const same = seen.status === status && (seen.attempt ?? attempt) === attempt;
      if (same) return [];
      const problem = `a client was told "${seen.status}", the record says "${status}" (attempt ${attempt})`;
      return [{ problem, places: [final.place, seen.place] }];
    });
  },
};
