/**
 * Answers requests: decodes nothing itself, but turns what a handler returns or throws into a reply.
 */

import { type Service, Svcm } from "@nats-io/services";
import {
  ERROR_MESSAGE_MAX_CHARS,
  type ErrorCode,
  encode,
  type WireError,
  wireError,
} from "@swarm-mesh/protocol";
import type { Log, Meters } from "@swarm-mesh/runtime";
import {
  ClosedConnectionError,
  ConnectionError,
  DrainingConnectionError,
  type Msg,
  type NatsConnection,
  NoRespondersError,
  RequestError,
  TimeoutError,
} from "nats";
import { isPassing } from "./ensure.ts";
import { listen } from "./listen.ts";

/** Thrown by a handler to refuse a request with a code. */
export class RefusedError extends Error {
  override readonly name: string = "RefusedError";
  readonly error: WireError;

  constructor(code: ErrorCode, message: string, retryable = false) {
    super(message);
    this.error = wireError(code, message, retryable);
  }
}

/**
 * Answers one request: the returned value as JSON, a string as it is. `undefined` says nothing, so
 * that another may answer. A thrown {@link RefusedError} is sent as a refusal; anything else is
 * logged and sent as `unavailable`: as a warning while the server or the store is away, else as an
 * error, for it is a bug.
 */
export type Handle = (message: Msg) => Promise<unknown> | unknown;

export interface Endpoint {
  /** For service discovery: a token. */
  readonly name: string;
  readonly subject: string;
  readonly handle: Handle;
}

/** Requests one endpoint works on at a time; further ones are refused with `unavailable`. */
const IN_HAND_MAX = 1_000;

/** Makes the message callback of an endpoint. */
export function answering(handle: Handle, log: Log): (message: Msg) => void {
  let inHand = 0;
  const answer = async (message: Msg): Promise<void> => {
    inHand++;
    try {
      if (inHand > IN_HAND_MAX) throw new RefusedError("unavailable", "too many requests", true);
      const value = await handle(message);
      if (value !== undefined) message.respond(typeof value === "string" ? value : encode(value));
    } catch (failure) {
      const said = { err: failure, subject: message.subject };
      if (isAway(failure) || isPassing(failure))
        log.warn(said, "request put off: no answer from the store");
      else if (!(failure instanceof RefusedError)) log.error(said, "request failed");
      message.respond(encode({ error: errorOf(failure) }));
    } finally {
      inHand--;
    }
  };
  return (message) => void answer(message);
}

/** What a client of NATS throws when nobody answers it, and nothing is wrong with what it asked. */
const AWAY = [
  TimeoutError,
  RequestError,
  NoRespondersError,
  ConnectionError,
  ClosedConnectionError,
  DrainingConnectionError,
] as const;

function isAway(failure: unknown): boolean {
  return AWAY.some((kind) => failure instanceof kind);
}

function errorOf(failure: unknown): WireError {
  if (failure instanceof RefusedError) return failure.error;
  const message = failure instanceof Error ? failure.message : String(failure);
  return wireError("unavailable", message.slice(0, ERROR_MESSAGE_MAX_CHARS), true);
}

/** Answers requests on `subject` alone, without a queue group, until `signal` aborts. */
export function answer(
  nc: NatsConnection,
  subject: string,
  handle: Handle,
  options: { readonly log: Log; readonly signal: AbortSignal },
): Promise<void> {
  return listen(nc, subject, answering(handle, options.log), { signal: options.signal });
}

export interface ServeOptions {
  /** The service's name in `$SRV` discovery. */
  readonly name: string;
  /** SemVer. */
  readonly version: string;
  readonly description: string;
  readonly metadata?: Record<string, string>;
  /** Shared among all replicas: each request is answered by one of them. */
  readonly endpoints: readonly Endpoint[];
  /** Called once the subscriptions exist at the server. */
  readonly onListening?: () => void;
  /** Where its requests are counted. */
  readonly meters?: Meters;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Registers the service with NATS discovery (`$SRV.PING|INFO|STATS`) and answers until aborted. */
export async function serve(nc: NatsConnection, options: ServeOptions): Promise<void> {
  const service: Service = await new Svcm(nc).add({
    name: options.name,
    version: options.version,
    description: options.description,
    ...(options.metadata === undefined ? {} : { metadata: options.metadata }),
  });
  for (const endpoint of options.endpoints) {
    const onMessage = answering(endpoint.handle, options.log);
    service.addEndpoint(endpoint.name, {
      subject: endpoint.subject,
      handler: (error, message) => {
        if (error === null) onMessage(message);
      },
    });
  }
  if (options.meters !== undefined) meterRequests(service, options.meters);
  if (options.onListening !== undefined) {
    await nc.flush();
    options.onListening();
  }
  const stop = (): void => void service.stop();
  if (options.signal.aborted) stop();
  options.signal.addEventListener("abort", stop, { once: true });
  const failure = await service.stopped;
  if (failure instanceof Error && !options.signal.aborted) throw failure;
}

/** `$SRV.STATS` counts requests already; the metric is the same number. */
function meterRequests(service: Service, meters: Meters): void {
  meters.counted(
    {
      name: "mesh_requests_total",
      help: "Requests of the endpoints that service discovery shows, as $SRV.STATS counts them.",
      labels: ["endpoint"],
    },
    async () => {
      const { endpoints = [] } = await service.stats();
      return endpoints.map(({ name, num_requests }) => ({ labels: [name], value: num_requests }));
    },
  );
}
