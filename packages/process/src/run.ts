/**
 * The shell every service starts in: config → logger → connection → stores → service → exit code.
 *
 * SIGTERM and SIGINT end it politely; the second one, or ten seconds, end it at once. Exit status 0
 * is a clean stop, 1 a bug or a lost server, 2 a configuration nobody can run with.
 */
import { hostname } from "node:os";
import type { JetStreamManager } from "@nats-io/jetstream";
import {
  ensureStores,
  isPassing,
  meterIdentity,
  meterLink,
  openConnection,
  openManager,
  Requester,
  StoreMismatchError,
  shownServer,
  TlsError,
} from "@swarm-mesh/bus";
import { serveStatus } from "@swarm-mesh/metrics";
import {
  aborted,
  type Clock,
  LOOP_BACKOFF,
  type Loop,
  Meters,
  type Random,
  retry,
  systemClock,
  systemRandom,
  together,
} from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";
import type { z } from "zod";
import { ConfigError, loadConfig, type ProcessConfig } from "./config.ts";
import { createLogger, type Logger } from "./logger.ts";
import { readSeed } from "./seed.ts";
import { startTracing } from "./tracing.ts";

/** What a service works with. */
export interface ServiceDeps {
  readonly nc: NatsConnection;
  readonly requester: Requester;
  readonly manager: JetStreamManager;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** What this process counts; served on `/metrics`. */
  readonly meters: Meters;
  /** This replica's name. */
  readonly instance: string;
  /** Copies of what is stored: 1 on one server, more on a cluster, whose elections take seconds. */
  readonly replicas: number;
  /** To be called once the service's subscriptions exist at the server. */
  readonly ready: () => void;
}

export interface ServiceDefinition<S extends z.ZodObject> {
  readonly name: string;
  readonly config: S;
  /** Runs until `signal` aborts, then lets go of what it holds and resolves. Rejects only on a bug. */
  readonly run: (config: z.infer<S>, deps: ServiceDeps, signal: AbortSignal) => Promise<void>;
}

/** How long a polite stop may take. Leases and acks run out by themselves, so a cut loses nothing. */
const STOP_DEADLINE_MS = 10_000;

/** Runs a service as this process's whole work, and ends the process. */
export async function runService<S extends z.ZodObject>(
  definition: ServiceDefinition<S>,
  options: { readonly configFile?: string | undefined } = {},
): Promise<never> {
  const stop = stopOnSignals();
  // Whoever read our log is gone: that is no reason to stop working.
  process.stdout.on("error", () => undefined);
  try {
    await startService(definition, options.configFile, stop);
    process.exit(0);
  } catch (error) {
    // What an operator puts right: one line says it, and no stack.
    const expected =
      error instanceof ConfigError ||
      error instanceof StoreMismatchError ||
      error instanceof TlsError;
    process.stderr.write(
      `${definition.name}: ${expected ? error.message : error instanceof Error ? error.stack : String(error)}\n`,
    );
    process.exit(expected ? 2 : 1);
  }
}

async function startService<S extends z.ZodObject>(
  definition: ServiceDefinition<S>,
  file: string | undefined,
  stop: AbortSignal,
): Promise<void> {
  const config = loadConfig(definition.config, { env: process.env, file });
  const base = config as z.infer<S> & ProcessConfig;
  const instance = base.instance ?? `${definition.name}-${shortHost()}-${process.pid}`;
  const meters = new Meters();
  const { name: service } = definition;
  const log = createLogger({ service, instance, level: base.logLevel, meters });
  const stopTracing = await startTracing(service, instance);
  const connecting = openConnection({
    servers: base.natsUrl.split(","),
    seed: base.natsNkey === undefined ? undefined : readSeed(base.natsNkey),
    name: `${definition.name}/${instance}`,
    inbox: definition.name,
    protection: {
      ca: base.natsCa,
      cert: base.natsCert,
      key: base.natsKey,
      allowPlaintext: base.allowPlaintext,
    },
    log,
  });
  const nc = await Promise.race([connecting, aborted(stop)]);
  // Told to stop before a server was there: there is nothing to let go of.
  if (nc === undefined) return;
  try {
    const manager = await openManager(nc);
    const replicas = await storesReady(nc, { manager, wanted: base.replicas, log, stop });
    if (replicas === undefined) return;
    const requester = new Requester(nc, { inboxPrefix: `_INBOX_${definition.name}` });
    const isUp = meterLink(meters, nc);
    let ready = false;
    const isReady = (): boolean => ready && isUp();
    meterIdentity(meters, { service, instance, ready: isReady });
    const deps: ServiceDeps = {
      nc,
      requester,
      manager,
      clock: systemClock,
      random: systemRandom,
      log,
      meters,
      instance,
      replicas,
      ready: () => {
        ready = true;
        log.info({}, "ready");
      },
    };
    const shown = { ...base, natsUrl: base.natsUrl.split(",").map(shownServer).join() };
    log.info({ config: shown, pid: process.pid }, "service started");
    const loops: Loop[] = [
      (signal) => definition.run(config, deps, signal),
      (signal) => endWithConnection(nc, signal),
    ];
    if (base.httpPort > 0) {
      const { httpPort: port, httpHost: host } = base;
      loops.push((signal) => serveStatus({ port, host, ready: isReady, meters, signal }));
    }
    await together(stop, loops);
    log.info({}, "service stopped");
  } finally {
    await nc.close();
    await stopTracing();
  }
}

interface StoresOptions {
  readonly manager: JetStreamManager;
  readonly wanted: number | undefined;
  readonly log: Logger;
  readonly stop: AbortSignal;
}

/**
 * Waits until the stores are there, as a cluster that starts has none for some seconds; returns their
 * copies. `undefined`: told to stop before.
 */
async function storesReady(
  nc: NatsConnection,
  { manager, wanted, log, stop }: StoresOptions,
): Promise<number | undefined> {
  const ensured = retry(() => ensureStores(nc, manager, wanted), {
    clock: systemClock,
    random: systemRandom,
    policy: LOOP_BACKOFF,
    signal: stop,
    retryable: (error) => {
      if (!isPassing(error)) return false;
      log.info({ err: error }, "the stores are not ready yet");
      return true;
    },
  });
  return Promise.race([ensured, aborted(stop).then(() => undefined)]);
}

/** Rejects when the connection closes before `signal` aborts: it never does so by itself but for good. */
async function endWithConnection(nc: NatsConnection, signal: AbortSignal): Promise<void> {
  const closed = nc.closed().then((error) => {
    throw error instanceof Error ? error : new Error("the connection closed");
  });
  const stopped = new Promise<void>((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
  closed.catch(() => undefined); // After a stop the connection closes in order.
  await Promise.race([closed, stopped]);
}

function stopOnSignals(): AbortSignal {
  const stop = new AbortController();
  const onSignal = (): void => {
    if (stop.signal.aborted) process.exit(1);
    stop.abort();
    void systemClock.sleep(STOP_DEADLINE_MS).then(() => process.exit(1));
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  return stop.signal;
}

function shortHost(): string {
  return (hostname().split(".")[0] ?? "host").replaceAll(/[^A-Za-z0-9_-]/g, "-").slice(0, 24);
}
