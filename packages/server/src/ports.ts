/** Ports for servers that must know each other's before they start. */
import { createServer } from "node:net";
import { type Random, systemRandom } from "@swarm-mesh/runtime";
import { ServerError } from "./errors.ts";

/** Below those that the system gives to outgoing connections, which would take one at any moment. */
const LOWEST = 20_000;
const HIGHEST = 32_000;
const TRIES_MAX = 1_000;

/** `count` different ports on 127.0.0.1 that nobody listens on now. */
export async function freePorts(
  count: number,
  random: Random = systemRandom,
): Promise<readonly number[]> {
  const ports = new Set<number>();
  for (let tries = 0; ports.size < count; tries++) {
    if (tries === TRIES_MAX) throw new ServerError("server-failed", "found no free ports");
    const port = LOWEST + Math.floor(random() * (HIGHEST - LOWEST));
    if (await isPortFree(port)) ports.add(port);
  }
  return [...ports];
}

/** Does nobody listen on this port of 127.0.0.1? */
export async function isPortFree(port: number): Promise<boolean> {
  const probe = createServer();
  const taken = await new Promise<boolean>((resolve) => {
    probe.once("error", () => resolve(true));
    probe.listen(port, "127.0.0.1", () => resolve(false));
  });
  if (taken) return false;
  await new Promise((resolve) => probe.close(resolve));
  return true;
}
