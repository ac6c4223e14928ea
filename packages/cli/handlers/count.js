/**
 * Counts from 1 to n, one step at a time: `30`, or `{ "n": 30, "everyMs": 1000 }`.
 *
 * It saves each number it reached. When its node is killed the task goes on at another one, from the
 * number saved last; the result tells at which numbers it had to start.
 */
import { setTimeout as sleep } from "node:timers/promises";

const STEP_DEFAULT_MS = 1_000;

export default async function count(input, task) {
  const { n, everyMs } = readInput(input);
  const saved = task.savedValue() ?? { reached: 0, starts: [] };
  const starts = [...saved.starts, saved.reached + 1];
  for (let reached = saved.reached + 1; reached <= n; reached++) {
    await sleep(everyMs, undefined, { signal: task.signal });
    await task.checkpoint({ reached, starts });
    task.progress({ reached, of: n });
  }
  return { counted: n, starts };
}

function readInput(input) {
  const wanted = typeof input === "object" && input !== null ? input : { n: input ?? 10 };
  const { n, everyMs = STEP_DEFAULT_MS } = wanted;
  if (isWhole(n, 1_000_000) && isWhole(everyMs, 60_000)) return { n, everyMs };
  throw Object.assign(new Error('count takes a number, or { "n": 30, "everyMs": 1000 }'), {
    code: "invalid_input",
    retryable: false,
  });
}

function isWhole(value, most) {
  return Number.isInteger(value) && value >= 0 && value <= most;
}
