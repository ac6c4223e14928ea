/** What an answer leans on besides the records themselves. */
import { NODE_LEASE_TTL_MS, type TaskRecord } from "@swarm-mesh/protocol";
import { timeOf } from "@swarm-mesh/runtime";
import type { Limits, Refusal } from "./facts.ts";

/** How old a refusal may be to matter, ms. */
const RECENT_MS = 10_000;

/** Nodes that would not have a task a moment ago, as the records of what was moved say; newest first. */
export function refusalsIn(tasks: readonly TaskRecord[], nowMs: number): readonly Refusal[] {
  return tasks
    .flatMap((task) =>
      task.migrations
        .filter(({ reason }) => reason === "refused" || reason === "no_responders")
        .map(({ from, at, reason }) => ({ node: from, task: task.id, atMs: timeOf(at), reason })),
    )
    .filter(({ atMs }) => nowMs - atMs < RECENT_MS)
    .sort((a, b) => b.atMs - a.atMs);
}

/** What the services do unless they are told otherwise; a test compares it with their settings. */
export const LIMITS_DEFAULT: Limits = {
  massLossMin: 3,
  massLossShare: 0.5,
  massLossWindowMs: 5_000,
  // The coordinator's 500 ms, and its sweep after that, by which a node is taken back.
  shunMs: 1_500,
  leaseTtlMs: NODE_LEASE_TTL_MS,
};

/** A task that failed once is held by the retry's message from then on; one that moved is not. */
export function laneOf(task: TaskRecord): string {
  return task.tries.length > 0 ? "retry" : task.lane;
}
