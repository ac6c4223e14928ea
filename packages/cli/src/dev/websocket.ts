/** What a dev mesh's server has beyond the project's configuration: a port for browsers. */
import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";

/**
 * Writes the configuration that a server of a dev mesh is started with and returns its path:
 * `<dir>/dev.conf`, or `dev-<name>.conf` for a server of a cluster. It is the server's own, and
 * WebSockets on loopback, on a free port or on that of `url`, so that the page finds a server that was
 * started again.
 */
export async function withWebsocket(dir: string, conf: string, url?: string): Promise<string> {
  const port = url === undefined ? -1 : Number(new URL(url).port);
  const own = basename(conf);
  const path = join(dir, own === "nats-server.conf" ? "dev.conf" : `dev-${own}`);
  const text = `# Made by \`swarmctl dev\`; do not edit. Without TLS, so for this machine alone.
include "${own}"
websocket { listen: "127.0.0.1:${port}", no_tls: true }
`;
  await writeFile(path, text);
  return path;
}
