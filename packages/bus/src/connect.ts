import {
  backoffMs,
  LOOP_BACKOFF,
  type Log,
  silentLog,
  systemClock,
  systemRandom,
  ticks,
} from "@swarm-mesh/runtime";
import {
  AuthorizationError,
  connect,
  type NatsConnection,
  type TlsOptions as NatsTlsOptions,
  nkeyAuthenticator,
  type ServerInfo,
} from "nats";
import { explainTls, type Protection, protectionFrom, TlsError, tlsFor } from "./tls.ts";

export interface ConnectOptions {
  /** One server or several, `nats://host:port`. */
  readonly servers: string | readonly string[];
  /** The nkey seed (`SU…`) that says who we are; without it the connection is anonymous. */
  readonly seed?: Uint8Array | undefined;
  /** Shown by the server for this connection: `<role>/<version>/<instance>`. */
  readonly name: string;
  /** Our user's name: replies arrive below `_INBOX_<inbox>`, where no other user may listen. */
  readonly inbox: string;
  /** Keep trying when no server answers at first. Default true; a command line wants false. */
  readonly patient?: boolean;
  /** A whole inbox prefix, instead of {@link inbox}'s. From a NATS context. */
  readonly inboxPrefix?: string | undefined;
  /** How it is encrypted. Default: what the environment says, see {@link protectionFrom}. */
  readonly protection?: Protection | undefined;
  readonly log?: Log;
  /**
   * Told each time the server refuses our key, at first and later, and then alone says so: a refusal
   * may be usual. It is tried on all the same.
   */
  readonly onRefused?: () => void;
  /** Gives up trying to reach a server at first; the connection itself is closed by its owner. */
  readonly signal?: AbortSignal;
}

/** Waits between two tries to reach a server, in milliseconds, and the most that is added at random. */
const RECONNECT_WAIT_MS = 100;
const RECONNECT_JITTER_MS = 100;
/** How long one dial may take, in milliseconds; then the next one is made. */
const DIAL_TIMEOUT_MS = 2_000;
/** With two unanswered pings this finds a frozen server within 6 s. */
const PING_INTERVAL_MS = 2_000;

/**
 * Connects for good: the connection outlives every server restart and ends only when closed. A
 * server that refuses our key is asked again ever less often: it may have been revoked, and it may be
 * about to be let in.
 *
 * Rejects with a {@link TlsError} when the way there is not as safe as it must be, when `signal`
 * aborts, or, unless `patient`, when no server lets us in.
 */
export async function openConnection(options: ConnectOptions): Promise<NatsConnection> {
  const log = options.log ?? silentLog;
  const servers =
    typeof options.servers === "string" ? options.servers.split(",") : options.servers;
  const protection = options.protection ?? protectionFrom(process.env);
  const tls = await tlsFor(servers, protection);
  // Others that the server names may be on other machines, and nothing here is encrypted.
  const ignoreClusterUpdates = tls === undefined && protection.allowPlaintext !== true;
  const refusals = new Refusals(options, log);
  const way: Way = { servers: [...servers], tls, ignoreClusterUpdates, refusals };
  const nc = await dialPatiently(options, way, log);
  refusals.over();
  void report(nc, refusals, log);
  writeOncePerTurn(nc);
  return nc;
}

async function dialPatiently(options: ConnectOptions, way: Way, log: Log): Promise<NatsConnection> {
  const { refusals, servers, tls } = way;
  for (let failures = 1; ; failures++) {
    try {
      return await dial(options, way);
    } catch (failure) {
      const error = await explainTls(failure, servers, tls !== undefined);
      const hopeless = error instanceof TlsError && failures === 1;
      if (options.patient === false || hopeless || options.signal?.aborted) throw error;
      if (error instanceof AuthorizationError) refusals.note();
      // Said once: from here on it is tried without a word.
      else if (failures === 1) {
        log.warn({ err: error, servers: servers.map(shownServer) }, "not connected yet, trying on");
      }
      await systemClock.sleep(refusals.waitMs(), options.signal);
      if (options.signal?.aborted) throw error;
    }
  }
}

/** Refusals of our key in a row: said once, and tried again ever later. */
class Refusals {
  readonly #options: ConnectOptions;
  readonly #log: Log;
  #count = 0;
  #waitMs = 0;

  constructor(options: ConnectOptions, log: Log) {
    this.#options = options;
    this.#log = log;
  }

  get any(): boolean {
    return this.#count > 0;
  }

  note(): void {
    this.#count++;
    this.#waitMs = backoffMs(LOOP_BACKOFF, this.#count, systemRandom);
    const { onRefused } = this.#options;
    if (onRefused !== undefined) onRefused();
    else if (this.#count === 1) {
      this.#log.warn({}, "the server refuses our key; trying on, ever less often");
    }
  }

  over(): void {
    this.#count = 0;
  }

  /** Until the next try to connect. */
  waitMs(): number {
    return this.any ? this.#waitMs : RECONNECT_WAIT_MS + RECONNECT_JITTER_MS * systemRandom();
  }
}

/** Bytes that are sent at once, however early in the turn it is. */
const WRITE_AT_ONCE_BYTES = 64 * 1024;

/**
 * Sends what one turn of the event loop published in one write. The library writes once per round
 * of microtasks, which is once per message for whoever answers after an `await`: a write costs more
 * than all else that is done for the message (measured: 1.2 writes a task at a node, now 0.1).
 */
function writeOncePerTurn(nc: NatsConnection): void {
  const { protocol } = nc as unknown as { protocol: Partial<Outbound> };
  const { flushPending, sendCommand } = protocol;
  // The library's inside, not its promise: without it all works as it did, only slower.
  if (flushPending === undefined || sendCommand === undefined) return;
  protocol.sendCommand = (command, ...payloads) => {
    // The library's own encoder takes four times as long as this one.
    const bytes = typeof command === "string" ? Buffer.from(command) : command;
    sendCommand.call(protocol, bytes, ...payloads);
  };
  let due = false;
  const write = (): void => {
    due = false;
    flushPending.call(protocol);
  };
  protocol.flushPending = () => {
    if ((protocol.outbound?.size() ?? 0) >= WRITE_AT_ONCE_BYTES) {
      flushPending.call(protocol);
    } else if (!due) {
      due = true;
      setImmediate(write);
    }
  };
}

/** The part of the library's protocol handler that writes. */
interface Outbound {
  sendCommand: (command: string | Uint8Array, ...payloads: Uint8Array[]) => void;
  flushPending: () => void;
  readonly outbound: { size(): number };
}

/** Where to, how protected, and how often it was refused. */
interface Way {
  readonly servers: string[];
  readonly tls: NatsTlsOptions | undefined;
  readonly ignoreClusterUpdates: boolean;
  readonly refusals: Refusals;
}

function dial(options: ConnectOptions, way: Way): Promise<NatsConnection> {
  const { servers, tls, ignoreClusterUpdates, refusals } = way;
  return connect({
    servers,
    ignoreClusterUpdates,
    ...(tls === undefined ? {} : { tls }),
    name: options.name,
    inboxPrefix: options.inboxPrefix ?? `_INBOX_${options.inbox}`,
    ...(options.seed === undefined
      ? {}
      : { authenticator: nkeyAuthenticator(trimmed(options.seed)) }),
    // A server that is just reading its configuration anew may leave a dial without an answer.
    timeout: DIAL_TIMEOUT_MS,
    maxReconnectAttempts: -1,
    reconnectDelayHandler: () => refusals.waitMs(),
    pingInterval: PING_INTERVAL_MS,
    maxPingOut: 2,
    // A key that a reload is about to let in again must not end the process.
    ignoreAuthErrorAbort: options.patient ?? true,
    // Without it each request captures a stack trace: 44 % of a publisher's CPU, measured.
    noAsyncTraces: true,
  });
}

/** A seed as a file has it may end in a newline. */
function trimmed(seed: Uint8Array): Uint8Array {
  return new TextEncoder().encode(new TextDecoder().decode(seed).trim());
}

/** Logs what happens to the connection until it closes. */
async function report(nc: NatsConnection, refusals: Refusals, log: Log): Promise<void> {
  for await (const status of nc.status()) {
    switch (status.type) {
      case "disconnect":
        // A try that is refused ends with a disconnect of its own: of these one word is enough.
        if (!refusals.any) log.warn({ server: shownServer(status.server) }, "connection lost");
        break;
      case "reconnect":
        refusals.over();
        log.info({ server: shownServer(status.server) }, "connection back");
        break;
      case "error":
        if (status.error instanceof AuthorizationError) refusals.note();
        else log.warn({ err: status.error }, "server reported an error");
        break;
      case "staleConnection":
      case "ldm":
      case "slowConsumer":
        log.warn({ status: status.type }, "connection in trouble");
        break;
      default:
        break;
    }
  }
}

/** How often is looked whether the server has said anything new of the cluster, in milliseconds. */
const LOOK_INTERVAL_MS = 1_000;

/**
 * Runs `onGone()` when a server of the cluster has gone, if only to come back, until `signal` aborts. The
 * library reports what a server says of the others only where it may use their addresses as well, so
 * what it keeps of that is looked at.
 */
async function watchServers(
  nc: NatsConnection,
  onGone: () => void,
  signal: AbortSignal,
): Promise<void> {
  let before = nc.info;
  for await (const _ of ticks({ clock: systemClock, everyMs: LOOK_INTERVAL_MS, signal })) {
    const now = nc.info;
    if (now !== before && hasLostServer(before, now)) onGone();
    before = now;
  }
}

/** What a server says of the cluster to one of its clients. */
type Said = Pick<ServerInfo, "client_id" | "connect_urls"> | undefined;

/**
 * Has a server of the cluster gone between two words from our own? It speaks when others come or go: unless
 * they only came, one went, and may be back already.
 */
export function hasLostServer(before: Said, now: Said): boolean {
  // A link of its own says so itself.
  if (before?.client_id !== now?.client_id) return false;
  const had = before?.connect_urls ?? [];
  const has = now?.connect_urls ?? [];
  return has.length <= had.length ? had.length > 0 : had.some((url) => !has.includes(url));
}

/**
 * Runs `onForgotten` whenever a server may have forgotten what this connection had it do, an ordered
 * consumer above all, until `signal` aborts: the link is back, or a server has gone. The client
 * itself misses such a consumer only when its heartbeats stay away, up to 30 s later.
 */
export async function watchForgetting(
  nc: NatsConnection,
  onForgotten: (reason: string) => void,
  signal: AbortSignal,
): Promise<void> {
  await Promise.all([
    watchLink(nc, (up) => up && onForgotten("link is back"), signal),
    // A consumer in memory is kept by one of the servers alone, and may have gone with it.
    watchServers(nc, () => onForgotten("a server has gone"), signal),
  ]);
}

/** Runs `onLink(up)` at each loss and return of the link, until `signal` aborts. */
export async function watchLink(
  nc: NatsConnection,
  onLink: (up: boolean) => void,
  signal: AbortSignal,
): Promise<void> {
  const statuses = nc.status() as AsyncIterable<{ type: string }> & { stop?: () => void };
  signal.addEventListener("abort", () => statuses.stop?.(), { once: true });
  for await (const status of statuses) {
    if (signal.aborted) return;
    if (status.type === "disconnect") onLink(false);
    if (status.type === "reconnect") onLink(true);
  }
}

/** A server's address as it may be shown: a user, password or token in it is nobody else's business. */
export function shownServer(server: string): string {
  return server.replaceAll(/(^|\/\/)[^/@]*@/g, "$1***@");
}
