/** A node of the mesh: a handler that does nothing, on the node's own event loop, and one that holds. */
import { readFile } from "node:fs/promises";
import { MeshNode } from "@swarm-mesh/node";
import { Holding } from "./holding.ts";
import { serveParent } from "./serve.ts";

interface Setup {
  readonly id: string;
  readonly slots: number;
  readonly url: string;
  readonly seedPath: string;
}

serveParent(async ({ id, slots, url, seedPath }: Setup) => {
  const holding = new Holding();
  const node = new MeshNode({ id, slots, servers: url, seed: await readFile(seedPath) });
  node.handle("noop", async () => "ok");
  node.handle("hold", (_input, { id: taskId, signal }) => holding.keep(taskId, signal));
  await node.start();
  return {
    release: () => holding.release(),
    // Hands back at once what does not end by itself.
    drain: () => node.drain({ deadlineMs: 0 }),
    close: () => node.stop(),
  };
});
