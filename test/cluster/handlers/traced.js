/**
 * A handler that leaves a trace: each start and end is a line in the file MESH_TRACE, so that a test
 * sees what really ran. `{ steps, ms }`: so many steps of so many milliseconds, each checkpointed.
 */
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export default async function traced(payload, ctx) {
  const from = ctx.saved === undefined ? 0 : Number(new TextDecoder().decode(ctx.saved));
  trace("start", ctx, from);
  for (let step = from; step < (payload.steps ?? 1); step++) {
    await sleep(payload.ms ?? 1, undefined, { signal: ctx.signal });
    await ctx.checkpoint(String(step + 1));
  }
  trace("end", ctx, from);
  return { from, steps: payload.steps };
}

function trace(what, ctx, from) {
  const line = { what, id: ctx.id, attempt: ctx.attempt, from, pid: process.pid, at: Date.now() };
  appendFileSync(process.env.MESH_TRACE, `${JSON.stringify(line)}\n`);
}
