/**
 * A client of the SDK in a process of its own, so that it can be a mutant. Each message it is sent
 * is a task's id; it submits it and writes `acknowledged` to its history once the client says so.
 */
import { appendFileSync, readFileSync } from "node:fs";
import { connectClient } from "@swarm-mesh/client";

const { MESH_TRACE, NATS_URL, NATS_NKEY } = process.env;
const client = await connectClient({ servers: NATS_URL, seed: readFileSync(NATS_NKEY) });

process.on("message", async (task) => {
  const { duplicate } = await client.submit("work", { steps: 1 }, { id: task });
  const line = { at: Date.now(), by: "submitter", what: "acknowledged", task, duplicate };
  appendFileSync(MESH_TRACE, `${JSON.stringify(line)}\n`);
});
process.send("connected");
