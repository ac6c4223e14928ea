import type { Run } from "../run.ts";
import type { TaskRule } from "../violation.ts";

/**
 * "A command of an older epoch has no effect": no try starts under a term after a newer one has acted,
 * beyond what was already on its way. Needs handlers that tell their epoch.
 */
export const startedUnderTheNewest: TaskRule = {
  name: "started-under-the-newest",
  invariant: "nothing starts under a term that is over",
  judge(story, run) {
    return story.starts.flatMap((start) => {
      const { epoch } = start;
      if (epoch === undefined) return [];
      const newer = firstLeaderAfter(epoch, run);
      if (newer === undefined || start.at <= newer.at + run.lateMs(newer.at, start.at)) return [];
      const problem = `attempt ${start.attempt} was started under term ${epoch}, when term ${newer.holder?.epoch} led`;
      return [{ problem, places: [newer.place, start.place] }];
    });
  },
};

function firstLeaderAfter(epoch: number, run: Run) {
  return run.leaders.find(({ holder }) => (holder?.epoch ?? 0) > epoch);
}
