import type { TaskRule } from "../violation.ts";

/**
 * "Only the coordinator that leads routes": a record is written by a term whose lease had been granted
 * and that no other leader's lease had followed yet.
 */
export const epochHadTheLease: TaskRule = {
  name: "epoch-had-the-lease",
  invariant: "a record is written by whoever has the lease",
  judge(story, run) {
    if (!run.watches("leases")) return [];
    return story.changes.flatMap(({ record, at, place }) => {
      if (record === undefined) return [];
      const own = run.leaders.find(({ holder }) => holder?.epoch === record.epoch);
      if (own === undefined) {
        // A term may be so short, while the observer's own link is down, that its lease is not seen.
        if (run.disturbed(at, at)) return [];
        return [
          { problem: `was written in term ${record.epoch}, which never led`, places: [place] },
        ];
      }
      const next = run.leaders.find(({ holder }) => (holder?.epoch ?? 0) > record.epoch);
      if (next === undefined || at <= next.at + run.margins.observersMs) return [];
      const seconds = ((at - next.at) / 1000).toFixed(1);
      const problem = `was written in term ${record.epoch}, ${seconds} s after term ${next.holder?.epoch} began`;
      return [{ problem, places: [next.place, place] }];
    });
  },
};
