import type { Run } from "../run.ts";
import type { Ending, Start, TaskStory } from "../story.ts";
import type { TaskRule } from "../violation.ts";

/**
 * "A node that cannot renew its lease stops its tasks by itself before others may take them": no try of
 * a life starts, or comes to its end, after that life's lease is gone. A process that was frozen needs
 * a moment to notice.
 */
export const leaseEndsRuns: TaskRule = {
  name: "lease-ends-runs",
  invariant: "a node whose lease is gone runs nothing",
  judge(story, run) {
    const ended = story.ends.filter((end) => end.how === "ok");
    return [...story.starts, ...ended].flatMap((one) => {
      const gone = goneBefore(one, story, run);
      if (gone === undefined) return [];
      const seconds = ((one.at - gone.at) / 1000).toFixed(1);
      const what = "how" in one ? "came to its end" : "was started";
      const problem = `attempt ${one.attempt} ${what} on ${gone.node} ${seconds} s after its lease was gone`;
      return [{ problem, places: [gone.place, one.place] }];
    });
  },
};

/** The lease that the try's life had lost, when it clearly had. */
function goneBefore(one: Start | Ending, story: TaskStory, run: Run) {
  const placed = story.placementOf(one.attempt)?.record;
  const node = placed?.node ?? undefined;
  if (placed === undefined || node === undefined) return undefined;
  const changes = run.nodeLeases.get(node) ?? [];
  const last = changes.findLastIndex(({ incarnation }) => incarnation === placed.incarnation);
  const gone = changes[last + 1];
  if (last < 0 || gone === undefined) return undefined;
  const noticed = Math.max(gone.at, run.lastHealed(node, one.at)) + run.margins.observersMs;
  return one.at > noticed ? { ...gone, node } : undefined;
}
