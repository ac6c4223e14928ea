import { isFinalStatus } from "../story.ts";
import type { TaskRule } from "../violation.ts";

/**
 * What the bucket says when the run is over is what it told while it ran: the same revision holds the
 * same record, no older one is back, and no final one was replaced unseen.
 */
export const finalLookAgrees: TaskRule = {
  name: "final-look-agrees",
  invariant: "the bucket says at the end what it told before",
  judge(story) {
    const { finalLook: look } = story;
    const last = story.changes.at(-1);
    if (look === undefined || last === undefined) return [];
    const places = [last.place, look.place];
    if (look.revision < last.revision) {
      // An expired key leaves a marker only for a while: nothing, after nothing, is the same.
      if (last.record === undefined && look.record === undefined) return [];
      const problem = `revision ${last.revision} was told, and the last look found ${look.revision}`;
      return [{ problem, places }];
    }
    if (look.record?.digest === last.record?.digest) return [];
    const final = last.record !== undefined && isFinalStatus(last.record.status);
    if (look.revision > last.revision && !final) return [];
    return [{ problem: "the last look found another record than was told", places }];
  },
};
