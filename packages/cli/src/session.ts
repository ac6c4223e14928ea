/** One command's connection: opened as the right user, closed whatever happens. */
import { resolve } from "node:path";
import type { JetStreamManager } from "@nats-io/jetstream";
import { isSameKey, openConnection, openManager, TlsError } from "@swarm-mesh/bus";
import { MeshClient } from "@swarm-mesh/client";
import { systemClock } from "@swarm-mesh/runtime";
import { readSeed } from "@swarm-mesh/server";
import { AuthorizationError, type NatsConnection, UserAuthenticationExpiredError } from "nats";
import type { Call } from "./call.ts";
import { CliError, Exit, usageError } from "./exit.ts";
import { type Format, type Paint, painter } from "./output.ts";
import { type Audience, outputOf, resolveTarget, type Target } from "./target.ts";

/** A connection for one command, and how the command prints. */
export interface Session {
  readonly nc: NatsConnection;
  readonly client: MeshClient;
  readonly target: Target;
  readonly format: Format;
  readonly paint: Paint;
  /** Tells a person, beside what the command prints. */
  warn(text: string): void;
  /** JetStream's management, for those who may. */
  manager(): Promise<JetStreamManager>;
}

/** What some commands need of their session. */
export interface SessionOptions {
  /** File with the seed that signs what is submitted, as it was typed. */
  readonly signWith?: string | undefined;
}

/** Runs `work` with a connection. `audience` says whose key of a dev mesh is needed. */
export async function withSession<T>(
  call: Call,
  audience: Audience,
  work: (session: Session) => Promise<T>,
  options: SessionOptions = {},
): Promise<T> {
  const format = outputOf(call.globals);
  const target = resolveTarget(call.globals, call.io, audience);
  const { signWith } = options;
  const signer =
    signWith === undefined ? undefined : await readSeedFile(resolve(call.io.cwd, signWith));
  const seed = target.nkey === undefined ? undefined : await readSeedFile(target.nkey);
  if (signer !== undefined && isSameKey(signer, seed)) {
    throw usageError("--sign-with: a signer needs a key of its own, not the one that connects");
  }
  const nc = await open(target, seed);
  try {
    const { inboxPrefix, timeoutMs } = target;
    return await work({
      nc,
      client: new MeshClient(nc, { inboxPrefix, deadlineMs: timeoutMs, signer }),
      target,
      format,
      paint: painter(call.io.colour),
      warn: (text) => call.io.err(`swarmctl: ${text}\n`),
      manager: () => openManager(nc),
    });
  } finally {
    await nc.close();
  }
}

/**
 * Connects within the target's time-out, in several tries: a server that reads its configuration
 * again at that very moment may refuse a good key, or never answer (both seen).
 */
async function open(target: Target, seed: Uint8Array | undefined): Promise<NatsConnection> {
  const deadline = systemClock.elapsed() + target.timeoutMs;
  let refusals = 0;
  for (let remaining = target.timeoutMs; remaining > 0; ) {
    try {
      const nc = await dial(target, seed, Math.min(remaining, DIAL_TIMEOUT_MS));
      if (nc !== undefined) return nc;
    } catch (error) {
      if (!isRefusal(error) || ++refusals > 1) throw connectError(target, error);
      await systemClock.sleep(REFUSAL_WAIT_MS);
    }
    remaining = deadline - systemClock.elapsed();
  }
  throw new CliError(
    Exit.timeout,
    "timeout",
    `${target.servers.join(", ")} did not answer within ${target.timeoutMs} ms`,
  );
}

const DIAL_TIMEOUT_MS = 1_500;
const REFUSAL_WAIT_MS = 100;

/** One try to connect; `undefined` when nobody answered in time. */
async function dial(
  target: Target,
  seed: Uint8Array | undefined,
  timeoutMs: number,
): Promise<NatsConnection | undefined> {
  const settled = new AbortController();
  const { inboxPrefix, protection, servers } = target;
  const shared = { servers, seed, inboxPrefix, protection, name: "swarmctl", inbox: "client" };
  const connecting = openConnection({ ...shared, patient: false });
  const late = systemClock.sleep(timeoutMs, settled.signal).then(() => undefined);
  try {
    const nc = await Promise.race([connecting, late]);
    // It may still come: then nobody wants it any more.
    if (nc === undefined)
      void connecting.then((unwanted) => unwanted.close()).catch(() => undefined);
    return nc;
  } finally {
    settled.abort();
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof AuthorizationError || error instanceof UserAuthenticationExpiredError;
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
  if (isRefusal(error)) {
    const who = target.nkey === undefined ? "no key was given" : `the key is ${target.nkey}`;
    return new CliError(
      Exit.denied,
      "denied",
      `${where} refused us: ${who}; say who you are with --nkey FILE or --context NAME`,
      { cause: error },
    );
  }
  if (error instanceof TlsError) {
    return new CliError(Exit.denied, error.code, error.message, { cause: error });
  }
  const reason = error instanceof Error ? error.message : String(error);
  return new CliError(
    Exit.error,
    "no_server",
    `no nats-server at ${where}: ${reason}; start one with \`swarmctl dev\`, or name one with --server`,
    { cause: error },
  );
}
