/** `swarmctl dashboard`: serves the page until Ctrl-C, and prints links to it. */
import { serveDashboard } from "@swarm-mesh/dashboard";
import { aborted } from "@swarm-mesh/runtime";
import { readSeed } from "@swarm-mesh/server";
import type { Call } from "./call.ts";
import { CliError, Exit, usageError } from "./exit.ts";
import { countFlag } from "./flags.ts";
import { painter } from "./output.ts";
import { resolveTarget, type Target } from "./target.ts";

/** The flags of `swarmctl dashboard` as they were typed. */
export interface DashboardFlags {
  readonly port: string;
  readonly host: string;
  readonly websocket?: string;
  readonly admin?: boolean;
  /** False: `--no-key`. */
  readonly key: boolean;
}

/** Serves the page and prints the link to it, until a signal comes. */
export async function dashboardCommand(call: Call<DashboardFlags>): Promise<number> {
  const { flags, io } = call;
  const target = resolveTarget(call.globals, io, flags.admin === true ? "admin" : "viewer");
  const websocket = websocketOf(call, target);
  const port = countFlag("--port", flags.port, { min: 0, max: 65_535 });
  const key = flags.key ? await keyOf(target) : undefined;
  const paint = painter(io.colour);
  const say = (): void => io.out(`open   ${paint("bold", dashboard.link())}\n`);
  const dashboard = await serveDashboard({
    ...{ host: flags.host, port, websocket, key },
    onUsed: () => {
      io.out("opened; for another window:\n");
      say();
    },
  }).catch((error: unknown) => {
    throw serveError(error, port);
  });
  io.out(`serves the dashboard of ${websocket} as ${key?.user ?? "whoever opens it"}\n`);
  say();
  io.out("Ctrl-C ends it.\n");
  await aborted(io.interrupted());
  await dashboard.close();
  return Exit.ok;
}

function websocketOf({ flags, io }: Call<DashboardFlags>, target: Target): string {
  const url = flags.websocket ?? (io.env["NATS_WEBSOCKET"] || undefined) ?? target.websocket;
  if (url === undefined) {
    throw usageError(
      `it is not known where ${target.servers.join(", ")} takes WebSockets; say --websocket ws://HOST:PORT, and see docs/dashboard.md for the server's side`,
    );
  }
  if (!/^wss?:\/\/[\w.:[\]-]+$/.test(url)) {
    throw usageError(`--websocket ${JSON.stringify(url)} is no ws://host:port or wss://host:port`);
  }
  return url;
}

/** The user's name is that of its inbox: `_INBOX_viewer` → `viewer`. */
async function keyOf({ nkey, inboxPrefix }: Target): Promise<{ user: string; seed: string }> {
  if (nkey === undefined) {
    throw usageError("whose key is the page to use? say --nkey FILE, or --no-key");
  }
  const seed = new TextDecoder().decode(await readSeed(nkey)).trim();
  return { user: inboxPrefix.replace(/^_INBOX_?/, ""), seed };
}

function serveError(error: unknown, port: number): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  if ("code" in error && error.code === "EADDRINUSE") {
    const message = `port ${port} is taken; choose another with --port, or let one be chosen with --port 0`;
    return new CliError(Exit.error, "port_taken", message);
  }
  return new CliError(Exit.usage, "usage", error.message, { cause: error });
}
