/** The same with every write on the disk before it is acknowledged: nothing acknowledged is ever lost. */
import { withPeers } from "../measure.ts";
import type { Session } from "../session.ts";
import { runLatency } from "./latency.ts";
import { runThroughput } from "./throughput.ts";

const SUBJECT = "durable";
const TASKS_MAX = 2_000;
const ROUNDS_MAX = 3;

/** `sync_interval: always` for the mesh and bare JetStream, `appendfsync always` for Redis. */
export async function durable(session: Session): Promise<void> {
  const { options } = session;
  const rounds = Math.min(options.rounds, ROUNDS_MAX);
  await withPeers(session, session.peers, "always", async (peers) => {
    await runThroughput(session, peers, {
      subject: SUBJECT,
      payloadBytes: options.payload,
      nodes: 1,
      tasks: Math.min(options.tasks, TASKS_MAX),
      rounds,
    });
    await runLatency(session, peers, {
      subject: SUBJECT,
      load: `${options.rate}/s`,
      rate: () => options.rate,
      seconds: 3,
      rounds,
    });
  });
}
