/**
 * What the nodes of a storm run. Each start and end of a try is a line of the history, written by the
 * handler itself, so that it tells what really ran.
 *
 * The payload: `steps` waits of `ms` each, with a checkpoint after each when `save` is set. Tries up
 * to `failures` fail, for good when `final` is set.
 *
 * It is loaded by the node's own module thread, so it stands alone: nothing but Node.
 */
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A task of the storm, as its body says. */
export interface Work {
  readonly steps: number;
  readonly ms: number;
  readonly save?: boolean;
  readonly failures?: number;
  readonly final?: boolean;
}

/** What a handler is given; the part of it that this one uses. */
interface Task {
  readonly id: string;
  readonly attempt: number;
  readonly signal: AbortSignal;
  savedValue(): unknown;
  checkpoint(state: unknown): Promise<void>;
}

const dir = process.env["FAULTS_RUNS"] ?? ".";
const node = process.env["FAULTS_NODE"] ?? "";
/** Of this life alone: a line that a kill cut short is the last one of its file. */
const file = join(dir, `${node}-${process.pid}.jsonl`);
/** The wall clock jumps in a storm, so lines take their time from the monotonic one. */
const epochMs = Number(process.env["FAULTS_EPOCH"] ?? 0);

export default async function work(payload: Work, task: Task): Promise<object> {
  const from = reachedOf(task.savedValue());
  write({ what: "started", task: task.id, attempt: task.attempt, node, from });
  const end = (how: string): void =>
    write({ what: "ended", task: task.id, attempt: task.attempt, how });
  try {
    for (let step = from; step < payload.steps; step++) {
      await sleep(payload.ms, undefined, { signal: task.signal });
      if (payload.save === true) {
        await task.checkpoint({ value: step + 1, attempt: task.attempt });
      }
    }
    if (task.attempt <= (payload.failures ?? 0)) throw failure(payload.final === true);
  } catch (error) {
    end(task.signal.aborted ? "aborted" : "failed");
    throw error;
  }
  end("ok");
  return { from, steps: payload.steps };
}

function failure(final: boolean): Error {
  const error = new Error(final ? "not ever" : "not this time");
  return Object.assign(error, { code: "planned", retryable: !final });
}

function reachedOf(saved: unknown): number {
  if (typeof saved !== "object" || saved === null || !("value" in saved)) return 0;
  return typeof saved.value === "number" ? saved.value : 0;
}

function write(line: Readonly<Record<string, unknown>>): void {
  const at = epochMs + Number(process.hrtime.bigint() / 1_000n) / 1_000;
  appendFileSync(file, `${JSON.stringify({ at, by: node, ...line, pid: process.pid })}\n`);
}
