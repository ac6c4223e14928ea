import { createServer, type Server } from "node:http";
import { aborted } from "@swarm-mesh/runtime";

export interface HealthOptions {
  /** On 127.0.0.1. */
  readonly port: number;
  /** Is it ready to do its work? `/readyz` says 200 or 503; `/healthz` is 200 while the process runs. */
  readonly ready: () => boolean;
  readonly signal: AbortSignal;
}

/** Serves `/healthz` and `/readyz` until `signal` aborts. */
export async function serveHealth(options: HealthOptions): Promise<void> {
  const server: Server = createServer((request, response) => {
    const known = request.url === "/healthz" || request.url === "/readyz";
    const ok = request.url === "/healthz" || options.ready();
    response.writeHead(known ? (ok ? 200 : 503) : 404, { "content-type": "text/plain" });
    response.end(known ? (ok ? "ok\n" : "not ready\n") : "not found\n");
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, "127.0.0.1", resolve);
  });
  await aborted(options.signal);
  server.closeAllConnections();
  server.close();
}
