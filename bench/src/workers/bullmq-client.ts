/** A client of BullMQ: adds jobs, and hears of each end by `QueueEvents`. */
import { Queue, QueueEvents } from "bullmq";
import { type LoadOrder, payloadOf, runLoad } from "./load.ts";
import { serveParent } from "./serve.ts";

interface Setup {
  readonly port: number;
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (reason: Error) => void;
}

serveParent(async ({ port }: Setup) => {
  const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
  const queue = new Queue("bench", { connection, defaultJobOptions: { removeOnComplete: 1_000 } });
  const events = new QueueEvents("bench", { connection });
  // One map instead of `waitUntilFinished`, which asks Redis once more for every job.
  const waiting = new Map<string, Waiting>();
  /** Jobs that ended before `add` told their id. */
  const early = new Set<string>();
  let done = 0;
  events.on("completed", ({ jobId }) => {
    done++;
    const each = waiting.get(jobId);
    if (each === undefined) early.add(jobId);
    each?.resolve();
    waiting.delete(jobId);
  });
  events.on("failed", ({ jobId, failedReason }) => {
    waiting.get(jobId)?.reject(new Error(failedReason));
  });
  await Promise.all([queue.waitUntilReady(), events.waitUntilReady()]);

  const once = async (payload: unknown): Promise<void> => {
    const { id = "" } = await queue.add("noop", payload);
    if (early.delete(id)) return;
    await new Promise<void>((resolve, reject) => waiting.set(id, { resolve, reject }));
  };
  return {
    run: (order: LoadOrder) => {
      done = 0;
      const payload = payloadOf(order.payloadBytes);
      return runLoad(order, () => once(payload));
    },
    countDone: async () => {
      // Those of a run that failed are still there.
      const left = await queue.getJobCountByTypes("active", "waiting", "delayed", "failed");
      return done - left;
    },
    /** Adds jobs that are held, and tells their ids. */
    hold: async (count: number) => {
      const jobs = await queue.addBulk(
        Array.from({ length: count }, () => ({ name: "hold", data: {} })),
      );
      return jobs.map(({ id }) => id);
    },
    close: async () => {
      await Promise.all([events.close(), queue.close()]);
    },
  };
});
