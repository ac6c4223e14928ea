/**
 * What to add to the monotonic clock of this machine to have the wall clock: for processes whose wall
 * clock jumps, so that all lines of a history have one time.
 */
export const EPOCH_MS = Date.now() - Number(process.hrtime.bigint() / 1_000n) / 1_000;
