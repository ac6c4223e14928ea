import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { DashboardFlags } from "../dashboard.ts";

const EXAMPLES = `
Serves a page on this machine and prints a link to it. The page talks to nats-server itself, over
WebSocket; the link brings the key along and works once, then another one is printed. Without
--admin it is the viewer's key, which changes nothing.

nats-server needs a websocket block in its configuration; a dev mesh has one. For another server
say where it is, and whose key to use: --websocket wss://nats.example:8443 --nkey viewer.nk

With --no-key it gives no key to anyone: everybody who opens the page loads a seed of his own. Only
then may --host be more than this machine.

Examples:
  $ swarmctl dashboard
  $ swarmctl dashboard --admin                        to drain, cancel and retry as well
  $ swarmctl dashboard --no-key --host 0.0.0.0 --websocket wss://nats.example:8443
`;

export function addDashboardCommand(program: Command, declare: Declare): void {
  const dashboard = program
    .command("dashboard")
    .description("the mesh in a browser: serves the page and prints a link")
    .option("--port <port>", "port of the page; 0 takes a free one", "4280")
    .option("--host <address>", "address to listen on", "127.0.0.1")
    .option(
      "--websocket <url>",
      "where browsers reach nats-server, ws:// or wss:// (NATS_WEBSOCKET)",
    )
    .option("--admin", "with the admin's key, to act and not only look")
    .option("--no-key", "give no key; everyone loads his own")
    .addHelpText("after", EXAMPLES);
  declare<DashboardFlags>(dashboard, async (call) =>
    (await import("../dashboard.ts")).dashboardCommand(call),
  );
}
