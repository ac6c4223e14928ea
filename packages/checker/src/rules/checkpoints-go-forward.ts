import type { Run } from "../run.ts";
import type { Saved, Start, TaskStory } from "../story.ts";
import type { Finding, TaskRule } from "../violation.ts";

/**
 * "A checkpoint never goes back": within an attempt saved values only grow, none is below what the
 * attempt began from, and an attempt begins from no less than the newest earlier attempt had saved
 * when it was placed.
 */
export const checkpointsGoForward: TaskRule = {
  name: "checkpoints-go-forward",
  invariant: "a checkpoint never goes back",
  judge: (story, run) => [...withinAttempts(story), ...betweenAttempts(story, run)],
};

function withinAttempts(story: TaskStory): Finding[] {
  const reached = new Map<number, Saved | Start>(
    story.starts.flatMap((start) => (start.from === undefined ? [] : [[start.attempt, start]])),
  );
  const inOrder = [...story.saved].sort((a, b) => a.revision - b.revision);
  return inOrder.flatMap((saved) => {
    if (saved.attempt === undefined || saved.value === null) return [];
    const before = reached.get(saved.attempt);
    reached.set(saved.attempt, saved);
    const least = before === undefined ? 0 : reachedBy(before);
    if (saved.value >= least) return [];
    const problem = `attempt ${saved.attempt} saved ${saved.value} after ${least}`;
    return [{ problem, places: [...(before === undefined ? [] : [before.place]), saved.place] }];
  });
}

function betweenAttempts(story: TaskStory, run: Run): Finding[] {
  return story.starts.flatMap((start) => {
    const placed = story.placementOf(start.attempt);
    if (start.from === undefined || placed === undefined) return [];
    const newest = newestBefore(story, start.attempt, placed.at - run.margins.storesMs);
    if (newest === undefined || start.from >= reachedBy(newest)) return [];
    const problem = `attempt ${start.attempt} began from ${start.from}, attempt ${newest.attempt} had saved ${newest.value}`;
    return [{ problem, places: [newest.place, placed.place, start.place] }];
  });
}

/** What the newest attempt before this one that saved anything by then had saved last. */
function newestBefore(story: TaskStory, attempt: number, by: number): Saved | undefined {
  let newest: Saved | undefined;
  for (const saved of story.saved) {
    const own = saved.attempt ?? Number.POSITIVE_INFINITY;
    if (own >= attempt || saved.value === null || (saved.storedAt ?? saved.at) > by) continue;
    const better =
      newest === undefined ||
      own > (newest.attempt ?? 0) ||
      (own === newest.attempt && saved.revision > newest.revision);
    if (better) newest = saved;
  }
  return newest;
}

function reachedBy(one: Saved | Start): number {
  return ("value" in one ? one.value : one.from) ?? 0;
}
