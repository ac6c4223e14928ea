/** BullMQ, whose jobs are taken from a worker once their locks have run out. */
import { systemClock } from "@swarm-mesh/runtime";
import { BullmqPeer, type StallSettings } from "../peers/bullmq.ts";
import { Held } from "./held.ts";

/** As quick as it can sanely be made: a lock must outlive a pause of the worker's event loop. */
export const TUNED = {
  lockDuration: 2_000,
  stalledInterval: 500,
  maxStalledCount: 5,
} satisfies StallSettings;

/**
 * Milliseconds from the end of a worker until another one, which ran before, has all of its jobs.
 * Each trial has a Redis of its own, so that trials can run side by side.
 */
export async function bullmqTrial(options: {
  readonly end: "kill" | "freeze";
  readonly tasks: number;
  readonly stall: StallSettings;
  /** How long the other worker has run by then: its timer decides. */
  readonly afterMs: number;
  readonly signal: AbortSignal;
}): Promise<number> {
  const { end, tasks, stall, afterMs, signal } = options;
  const peer = await BullmqPeer.start({ durability: "second", signal });
  try {
    const victim = await peer.startWorker(tasks, stall);
    const held = new Held(victim);
    const ids = await peer.client.call<string[]>("hold", tasks);
    await held.all(ids, signal);
    const heldBySurvivor = new Held(await peer.startWorker(tasks, stall));
    await systemClock.sleep(afterMs, signal);
    const startedAt = systemClock.elapsed();
    victim.kill(end === "kill" ? "SIGKILL" : "SIGSTOP");
    await heldBySurvivor.all(ids, signal);
    return systemClock.elapsed() - startedAt;
  } finally {
    await peer.stop();
  }
}
