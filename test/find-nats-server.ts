import { locateNatsServer } from "@swarm-mesh/server";

const found = "NATS_SERVER";

/** Finds nats-server once for all test projects and their processes, and says which. */
export default async function findNatsServer(): Promise<void> {
  if (process.env[found] !== undefined) return;
  const server = await locateNatsServer({ report: (line) => process.stdout.write(`${line}\n`) });
  process.env[found] = server.path;
}
