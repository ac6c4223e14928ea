/** One command's connection: opened as the right user, closed whatever happens. */
import type { JetStreamManager } from "@nats-io/jetstream";
import { openConnection, openManager, Requester } from "@swarm-mesh/bus";
import { MeshClient } from "@swarm-mesh/client";
import { systemClock } from "@swarm-mesh/runtime";
import { readSeed } from "@swarm-mesh/server";
import type { NatsConnection } from "nats";
import type { Call } from "./call.ts";
import { CliError, Exit } from "./exit.ts";
import { type Format, type Paint, painter } from "./output.ts";
import { type Audience, outputOf, resolveTarget, type Target } from "./target.ts";

export interface Session {
  readonly nc: NatsConnection;
  readonly client: MeshClient;
  readonly requester: Requester;
  readonly target: Target;
  readonly format: Format;
  readonly paint: Paint;
  /** JetStream's management, for those who may. */
  manager(): Promise<JetStreamManager>;
}

/** Runs `work` with a connection. `audience` says whose key of a dev mesh is needed. */
export async function withSession<T>(
  call: Call,
  audience: Audience,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const format = outputOf(call.globals);
  const target = resolveTarget(call.globals, call.io, audience);
  const nc = await open(target);
  try {
    const { inboxPrefix, timeoutMs } = target;
    return await work({
      nc,
      client: new MeshClient(nc, { inboxPrefix, deadlineMs: timeoutMs }),
      requester: new Requester(nc, { inboxPrefix }),
      target,
      format,
      paint: painter(call.io.colour),
      manager: () => openManager(nc),
    });
  } finally {
    await nc.close();
  }
}

async function open(target: Target): Promise<NatsConnection> {
  const seed = target.nkey === undefined ? undefined : await readSeedFile(target.nkey);
  const settled = new AbortController();
  const connecting = openConnection({
    servers: target.servers,
    seed,
    name: "swarmctl",
    inbox: "client",
    inboxPrefix: target.inboxPrefix,
    patient: false,
  });
  const late = systemClock.sleep(target.timeoutMs, settled.signal).then(() => undefined);
  try {
    const nc = await Promise.race([connecting, late]);
    if (nc !== undefined) return nc;
  } catch (error) {
    throw connectError(target, error);
  } finally {
    settled.abort();
  }
  // It may still come: then nobody wants it any more.
  void connecting.then((nc) => nc.close()).catch(() => undefined);
  throw new CliError(
    Exit.timeout,
    "timeout",
    `${target.servers.join(", ")} did not answer within ${target.timeoutMs} ms`,
  );
}

async function readSeedFile(path: string): Promise<Uint8Array> {
  try {
    return await readSeed(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CliError(Exit.denied, "bad_key", `the key cannot be used: ${reason}`, {
      cause: error,
    });
  }
}

function connectError(target: Target, error: unknown): CliError {
  const where = `${target.servers.join(", ")} (from ${target.origin})`;
  const name = error instanceof Error ? error.name : "";
  if (name === "AuthorizationError" || name === "UserAuthenticationExpiredError") {
    const who = target.nkey === undefined ? "no key was given" : `the key is ${target.nkey}`;
    return new CliError(
      Exit.denied,
      "denied",
      `${where} refused us: ${who}; say who you are with --nkey FILE or --context NAME`,
      { cause: error },
    );
  }
  const reason = error instanceof Error ? error.message : String(error);
  return new CliError(
    Exit.error,
    "no_server",
    `no nats-server at ${where}: ${reason}; start one with \`swarmctl dev\`, or name one with --server`,
    { cause: error },
  );
}
