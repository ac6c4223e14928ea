/** A task's record as a story: what happened, in the order it happened. Pure. */
import { isFinal, type TaskRecord } from "@swarm-mesh/protocol";

export interface Step {
  readonly at: string;
  readonly what: string;
  readonly node: string | undefined;
  readonly detail: string;
  readonly tone: "good" | "bad" | "warn" | "plain";
}

export function storyOf(record: TaskRecord): readonly Step[] {
  const { submittedAt, startedAt, finishedAt, status, node, error } = record;
  const steps: Step[] = [
    {
      at: submittedAt,
      what: "submitted",
      node: undefined,
      detail: record.capability,
      tone: "plain",
    },
    ...record.tries.map(
      (failed): Step => ({
        at: failed.at,
        what: `try ${failed.attempt} failed on`,
        node: failed.node ?? undefined,
        detail: `${failed.error.code}: ${failed.error.message}`,
        tone: "bad",
      }),
    ),
    ...record.migrations.map(
      (move): Step => ({
        at: move.at,
        what:
          move.to === null
            ? "lost its node, and waits for another, after"
            : `moved from ${move.from} to`,
        node: move.to ?? move.from,
        detail: move.reason.replaceAll("_", " "),
        tone: "warn",
      }),
    ),
  ];
  if (startedAt !== null) {
    const what = `try ${record.attempt} began on`;
    steps.push({ at: startedAt, what, node: node ?? undefined, detail: "", tone: "plain" });
  }
  if (finishedAt !== null && isFinal(status)) {
    const tone = status === "succeeded" ? "good" : status === "cancelled" ? "plain" : "bad";
    const detail = error === null ? "" : `${error.code}: ${error.message}`;
    steps.push({ at: finishedAt, what: status, node: undefined, detail, tone });
  }
  // Steps of one moment keep the order above: a sort does not change it.
  return steps.sort((a, b) => a.at.localeCompare(b.at, "en"));
}
