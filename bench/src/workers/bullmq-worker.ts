/** A worker of BullMQ with a processor that does nothing, or that holds its jobs. */
import { type Job, Worker } from "bullmq";
import { Holding } from "./holding.ts";
import { serveParent } from "./serve.ts";

interface Setup {
  readonly port: number;
  readonly concurrency: number;
  readonly stall: Readonly<Record<string, number>>;
}

serveParent(async ({ port, concurrency, stall }: Setup) => {
  const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
  const holding = new Holding();
  const process = async ({ id = "", name }: Job) => (name === "hold" ? holding.keep(id) : "ok");
  const worker = new Worker("bench", process, { connection, concurrency, ...stall });
  // A stopped Redis is said by the client; without a listener it would end the process.
  worker.on("error", () => undefined);
  await worker.waitUntilReady();
  return { release: () => holding.release(), close: () => worker.close(true) };
});
