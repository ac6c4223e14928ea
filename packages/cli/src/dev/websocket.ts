/** What a dev mesh's server has beyond the project's configuration: a port for browsers. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

/** The configuration a dev mesh's server is started with; it includes the project's. */
export const DEV_CONF = "dev.conf";

/**
 * Writes `<dir>/dev.conf` and returns its path: nats-server.conf, and WebSockets on loopback, on a
 * free port or on that of `url`, so that the page finds a server that was started again.
 */
export async function withWebsocket(dir: string, url?: string): Promise<string> {
  const port = url === undefined ? -1 : Number(new URL(url).port);
  const path = join(dir, DEV_CONF);
  const text = `# Made by \`swarmctl dev\`; do not edit. Without TLS, so for this machine alone.
include "nats-server.conf"
websocket { listen: "127.0.0.1:${port}", no_tls: true }
`;
  await writeFile(path, text);
  return path;
}
