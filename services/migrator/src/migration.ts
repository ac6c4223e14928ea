/**
 * Migration: what to do for a node whose life ended.
 *
 *     ask what it held ──tasks──▶ have each moved ──▶ ask again … ──none──▶ settled
 *           │ cannot say yet: again, with a backoff
 *           └ refused, or the same tasks over and over: put off, for the event to come again
 *
 * A repeat is harmless: each move names the try it takes away, and a try is taken away once.
 */
import type { Held, MoveReason, NodeEvent, WireError } from "@swarm-mesh/protocol";

/** What the leader answered, or why there is no answer. The bus package's `Answer`. */
export type Reply<T> =
  | { readonly kind: "ok"; readonly value: T }
  | { readonly kind: "refused"; readonly error: WireError }
  | { readonly kind: "no-responders" }
  | { readonly kind: "timeout" }
  | { readonly kind: "malformed"; readonly problem: string };

/** What an answer of the leader's is worth. */
export type ReplyVerdict<T> =
  | { readonly kind: "answered"; readonly value: T }
  /** Nobody leads at this moment: ask again. */
  | { readonly kind: "again"; readonly problem: string }
  /** Asking again at once cannot help. */
  | { readonly kind: "refused"; readonly problem: string };

/** Is the reply an answer, and if not, does it help to ask again? */
export function judgeReply<T>(reply: Reply<T>): ReplyVerdict<T> {
  switch (reply.kind) {
    case "ok":
      return { kind: "answered", value: reply.value };
    case "no-responders":
    case "timeout":
      return { kind: "again", problem: reply.kind };
    case "malformed":
      return { kind: "refused", problem: reply.problem };
    case "refused":
      return {
        kind: reply.error.retryable ? "again" : "refused",
        problem: `${reply.error.code}: ${reply.error.message}`,
      };
  }
}

/** What was done for one node so far. */
export interface Progress {
  /** Tasks placed again by us. */
  readonly movedCount: number;
  /** Moves that somebody else had made. */
  readonly staleCount: number;
  /** Rounds in a row in which there was something to move and nothing moved. */
  readonly idleRounds: number;
}

/** An event that was just taken up. */
export const NO_PROGRESS: Progress = { movedCount: 0, staleCount: 0, idleRounds: 0 };

/** Rounds without a move after which the event is put off. */
export const IDLE_ROUNDS_MAX = 5;

/** What comes next for an event. */
export type MigrationStep =
  | { readonly kind: "move"; readonly tasks: Held["tasks"] }
  | { readonly kind: "settled" }
  /** The leader keeps naming tasks whose moves it calls stale. */
  | { readonly kind: "put-off" };

/** What comes next, now that the leader says what the node holds. */
export function planMigration(held: Held, progress: Progress): MigrationStep {
  if (held.tasks.length === 0) return { kind: "settled" };
  if (progress.idleRounds >= IDLE_ROUNDS_MAX) return { kind: "put-off" };
  return { kind: "move", tasks: held.tasks };
}

/** The progress after one more round of moves. */
export function afterRound(progress: Progress, answers: readonly ("moved" | "stale")[]): Progress {
  const moved = answers.filter((answer) => answer === "moved").length;
  return {
    movedCount: progress.movedCount + moved,
    staleCount: progress.staleCount + answers.length - moved,
    idleRounds: moved > 0 ? 0 : progress.idleRounds + 1,
  };
}

/** Why the tasks move; `undefined`: the event ends no life, and there is nothing to do. */
export function moveReasonOf(event: NodeEvent): MoveReason | undefined {
  if (event.to === "FAILED") return "node_failed";
  return event.to === "LEFT" ? "node_left" : undefined;
}
