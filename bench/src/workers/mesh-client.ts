/** A client of the mesh: submits tasks by the SDK and waits for each result. */
import { readFile } from "node:fs/promises";
import { connectClient } from "@swarm-mesh/client";
import { submitSubject } from "@swarm-mesh/protocol";
import { type LoadOrder, payloadOf, runLoad } from "./load.ts";
import { serveParent } from "./serve.ts";

interface Setup {
  readonly url: string;
  readonly seedPath: string;
}

export interface FloodOrder {
  readonly count: number;
  readonly capability: string;
  readonly payloadBytes: number;
}

const ACK_EVERY = 2_000;

export interface HoldOrder {
  readonly count: number;
  readonly nodeId: string;
}

serveParent(async ({ url, seedPath }: Setup) => {
  const client = await connectClient({
    servers: url,
    seed: await readFile(seedPath),
    name: "bench-client",
  });
  return {
    run: (order: LoadOrder) => {
      const payload = payloadOf(order.payloadBytes);
      // Throws when the task has no result.
      return runLoad(order, () => client.run("noop", payload));
    },
    /** Stores tasks without waiting for each. */
    flood: async ({ count, capability, payloadBytes }: FloodOrder) => {
      const body = JSON.stringify(payloadOf(payloadBytes));
      for (let sent = 1; sent <= count; sent++) {
        // Stored in order: one that is acknowledged says it for all before it. More than 10 000 that
        // wait for the store are dropped by the server.
        if (sent % ACK_EVERY === 0 || sent === count) {
          await client.submit(capability, body, { lane: "low" });
        } else client.nc.publish(submitSubject(capability, "low"), body);
      }
    },
    once: () => client.run("noop", payloadOf(0)),
    /** Submits tasks that are held, all to one node, and tells their ids. */
    hold: async ({ count, nodeId }: HoldOrder) => {
      const submits = Array.from({ length: count }, () =>
        client.submit("hold", undefined, { prefer: nodeId }),
      );
      return (await Promise.all(submits)).map(({ id }) => id);
    },
    close: () => client.close(),
  };
});
