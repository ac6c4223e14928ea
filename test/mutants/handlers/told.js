/**
 * A handler that tells what it does, in lines of a history in the file MESH_TRACE.
 *
 * `{ steps, ms }`: so many steps of so many milliseconds, each checkpointed. `gate`: and more of them,
 * until the file of that name is there. `fail`: the attempts that throw. `final`: they throw for good.
 */
import { appendFileSync, existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export default async function told(payload, ctx) {
  const from = ctx.saved === undefined ? 0 : Number(new TextDecoder().decode(ctx.saved));
  tell(ctx, { what: "started", from });
  try {
    for (let step = from; step < (payload.steps ?? 1) || isShut(payload.gate); step++) {
      await sleep(payload.ms ?? 1, undefined, { signal: ctx.signal });
      await ctx.checkpoint(String(step + 1));
    }
    if (payload.fail?.includes(ctx.attempt)) {
      throw Object.assign(new Error("no luck"), { retryable: payload.final !== true });
    }
  } catch (error) {
    tell(ctx, { what: "ended", how: ctx.signal.aborted ? "aborted" : "failed" });
    throw error;
  }
  tell(ctx, { what: "ended", how: "ok" });
  return { from, attempt: ctx.attempt };
}

function isShut(gate) {
  return gate !== undefined && !existsSync(join(dirname(process.env.MESH_TRACE), gate));
}

function tell(ctx, line) {
  const { pid } = process;
  const whole = {
    at: Date.now(),
    by: `handler-${pid}`,
    task: ctx.id,
    attempt: ctx.attempt,
    pid,
    ...line,
  };
  appendFileSync(process.env.MESH_TRACE, `${JSON.stringify(whole)}\n`);
}
