/**
 * A handler that writes the history the checker reads: each start and end of a try is a line of the file
 * MESH_RUNS. `{ steps, ms }`: so many steps of so many milliseconds.
 */
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export default async function judged(payload, ctx) {
  const write = (line) => {
    const { pid } = process;
    const about = { at: Date.now(), by: `pid ${pid}`, task: ctx.id, attempt: ctx.attempt, pid };
    appendFileSync(process.env.MESH_RUNS, `${JSON.stringify({ ...about, ...line })}\n`);
  };
  write({ what: "started" });
  try {
    for (let step = 0; step < payload.steps; step++) {
      await sleep(payload.ms, undefined, { signal: ctx.signal });
    }
  } catch (error) {
    write({ what: "ended", how: ctx.signal.aborted ? "aborted" : "failed" });
    throw error;
  }
  write({ what: "ended", how: "ok" });
  return payload.steps;
}
