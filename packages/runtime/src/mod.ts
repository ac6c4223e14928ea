export { assert, InvariantError } from "./assert.ts";
export {
  type BackoffPolicy,
  backoffMs,
  type HedgeOptions,
  hedged,
  LOOP_BACKOFF,
  REQUEST_BACKOFF,
  type RetryOptions,
  retry,
} from "./backoff.ts";
export { BriefMap } from "./brief-map.ts";
export { type Clock, dateOf, isoTime, systemClock, timeOf } from "./clock.ts";
export { aborted, type Latch, latch, unlessAborted, within } from "./latch.ts";
export { type Log, type LogFields, silentLog } from "./log.ts";
export {
  type Counter,
  type Family,
  type Histogram,
  LONG_SECONDS,
  type Meter,
  Meters,
  type MeterText,
  OTHER,
  QUICK_SECONDS,
  type Sample,
} from "./meters.ts";
export { type Random, systemRandom } from "./random.ts";
export { type TicksOptions, ticks, Wakeup } from "./ticks.ts";
export { type Loop, together } from "./together.ts";
