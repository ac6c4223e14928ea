/** Every rule, once. A new one is a file in `rules/` and a line here. */
import { acknowledgedIsKept } from "./rules/acknowledged-is-kept.ts";
import { allowedArrows } from "./rules/allowed-arrows.ts";
import { answersHold } from "./rules/answers-hold.ts";
import { attemptRunsOnce } from "./rules/attempt-runs-once.ts";
import { cancelStops } from "./rules/cancel-stops.ts";
import { checkpointsGoForward } from "./rules/checkpoints-go-forward.ts";
import { clientsSeeTheRecord } from "./rules/clients-see-the-record.ts";
import { epochHadTheLease } from "./rules/epoch-had-the-lease.ts";
import { failuresAreTold } from "./rules/failures-are-told.ts";
import { finalLookAgrees } from "./rules/final-look-agrees.ts";
import { leaseEndsRuns } from "./rules/lease-ends-runs.ts";
import { livesOnlyGrow } from "./rules/lives-only-grow.ts";
import { movedForAReason } from "./rules/moved-for-a-reason.ts";
import { movesAreAttempts } from "./rules/moves-are-attempts.ts";
import { nothingStartsAfterTheEnd } from "./rules/nothing-starts-after-the-end.ts";
import { numbersOnlyGrow } from "./rules/numbers-only-grow.ts";
import { oneFinalRecord } from "./rules/one-final-record.ts";
import { oneLeaderActs } from "./rules/one-leader-acts.ts";
import { placedOnTheLiving } from "./rules/placed-on-the-living.ts";
import { resultIsOfItsAttempt } from "./rules/result-is-of-its-attempt.ts";
import { runsArePlaced } from "./rules/runs-are-placed.ts";
import { startedUnderTheNewest } from "./rules/started-under-the-newest.ts";
import { timesInOrder } from "./rules/times-in-order.ts";
import { triesAreCounted } from "./rules/tries-are-counted.ts";
import { unfinishedHasOwner } from "./rules/unfinished-has-owner.ts";
import type { RunRule, TaskRule } from "./violation.ts";

/** About one task at a time. */
export const TASK_RULES: readonly TaskRule[] = [
  acknowledgedIsKept,
  unfinishedHasOwner,
  oneFinalRecord,
  finalLookAgrees,
  allowedArrows,
  numbersOnlyGrow,
  movesAreAttempts,
  movedForAReason,
  triesAreCounted,
  attemptRunsOnce,
  runsArePlaced,
  resultIsOfItsAttempt,
  nothingStartsAfterTheEnd,
  cancelStops,
  answersHold,
  checkpointsGoForward,
  failuresAreTold,
  timesInOrder,
  clientsSeeTheRecord,
  epochHadTheLease,
  placedOnTheLiving,
  leaseEndsRuns,
  startedUnderTheNewest,
];

/** About the run as a whole. */
export const RUN_RULES: readonly RunRule[] = [oneLeaderActs, livesOnlyGrow];
