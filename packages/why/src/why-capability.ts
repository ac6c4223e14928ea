/** How is this capability served? Facts in, answer out. */
import { type Answer, type CapabilityFacts, leads } from "./facts.ts";
import { laneLines, leaderLine, oldestIn, supplyOf, waitingIn } from "./supply.ts";
import { count } from "./wording.ts";

/** Who serves the capability, and what its waiting tasks wait for. */
export function whyCapability({ capability, mesh, lanes }: CapabilityFacts): Answer {
  const waiting = waitingIn(lanes);
  const oldestMs = oldestIn(lanes, mesh.nowMs);
  const supply = supplyOf(mesh, capability, undefined, oldestMs);
  const waits =
    waiting === undefined
      ? "how many tasks wait for it is not known"
      : waiting === 0
        ? "no task waits for it"
        : `${count(waiting, "task")} ${waiting === 1 ? "waits" : "wait"} for it`;
  const lines = laneLines(lanes, mesh.nowMs);
  if (!leads(mesh)) {
    return {
      cause: "no_leader",
      sentence: `${capability} is not served: no coordinator leads, so nothing is placed; ${waits}.`,
      evidence: [leaderLine(mesh), `besides: ${supply.clause}`, ...lines, ...supply.evidence],
    };
  }
  const apart =
    supply.cause === "free" && (waiting ?? 0) > 0
      ? [
          "those that wait while slots are free require labels, or came a moment ago: ask about one of them",
        ]
      : [];
  return {
    cause: supply.cause,
    sentence: `${capability}: ${supply.clause}; ${waits}.`,
    evidence: [...lines, ...supply.evidence, ...apart],
  };
}
