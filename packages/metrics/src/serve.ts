/** Tells how a process is: `/healthz`, `/readyz`, `/metrics`. */
import { createServer, type ServerResponse } from "node:http";
import { aborted, type Meters } from "@swarm-mesh/runtime";
import { type MetricsPage, metricsPage } from "./page.ts";

export interface StatusOptions {
  readonly port: number;
  /** Address to listen on. Default 127.0.0.1: what is told is for whoever runs the process. */
  readonly host?: string;
  /** Is it ready to do its work? `/readyz` says 200 or 503; `/healthz` is 200 while the process runs. */
  readonly ready: () => boolean;
  readonly meters: Meters;
  /** Ends it. Default: it serves as long as the process runs, and does not keep it running. */
  readonly signal?: AbortSignal;
}

/** Serves until `signal` aborts. Rejects when the port cannot be had. */
export async function serveStatus(options: StatusOptions): Promise<void> {
  const page = await metricsPage(options.meters);
  const server = createServer((request, response) => {
    switch (request.url) {
      case "/healthz":
        answer(response, 200, "ok\n");
        return;
      case "/readyz":
        if (options.ready()) answer(response, 200, "ok\n");
        else answer(response, 503, "not ready\n");
        return;
      case "/metrics":
        void answerPage(response, page);
        return;
      default:
        answer(response, 404, "not found\n");
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host ?? "127.0.0.1", resolve);
  });
  if (options.signal === undefined) {
    server.unref();
    return;
  }
  await aborted(options.signal);
  server.closeAllConnections();
  server.close();
}

async function answerPage(response: ServerResponse, page: MetricsPage): Promise<void> {
  try {
    answer(response, 200, await page.text(), page.contentType);
  } catch (error) {
    answer(response, 500, `${error instanceof Error ? error.message : String(error)}\n`);
  }
}

function answer(response: ServerResponse, status: number, text: string, type?: string): void {
  response.writeHead(status, { "content-type": type ?? "text/plain; charset=utf-8" });
  response.end(text);
}
