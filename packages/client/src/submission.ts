/** What a submit puts on the wire, checked here by the same rules as the mesh checks it there. */
import { createHash, randomUUID } from "node:crypto";
import {
  type HeaderEntry,
  headerBlock,
  type SigningKey,
  type Span,
  SpanKind,
  startSpan,
  traceparentOf,
} from "@swarm-mesh/bus";
import {
  type Backoff,
  encode,
  formatDuration,
  Header,
  isBadHeader,
  isCapability,
  isTaskId,
  Lane,
  PAYLOAD_MAX_BYTES,
  parseDuration,
  parseSubmitHeaders,
  SIGNATURE_LIFETIME_MAX_MS,
  type Strategy,
  signatureHeaders,
  signedText,
  submitSubject,
  TIMEOUT_DEFAULT_MS,
} from "@swarm-mesh/protocol";
import { isoTime } from "@swarm-mesh/runtime";
import type { MsgHdrs } from "nats";
import { SubmitError } from "./errors.ts";

/** Bytes and strings go as they are; anything else as JSON. `undefined` is an empty body. */
export type SubmitPayload = unknown;

/** What a submit says besides its input; what is left out is decided by the mesh. */
export interface SubmitOptions {
  /** The task's id, `[A-Za-z0-9_-]{1,64}`: the same id again is the same task. Default: a new one. */
  readonly id?: string | undefined;
  readonly lane?: Lane | undefined;
  /** Tries in all. */
  readonly maxAttempts?: number | undefined;
  /** Limit of one try: `30s`, or milliseconds. */
  readonly timeout?: string | number | undefined;
  /** The wait before the next try: `fixed:2s`, `exponential:1s:60s`. */
  readonly backoff?: string | Backoff | undefined;
  /** Labels that the node must have. */
  readonly requires?: Readonly<Record<string, string>> | string | undefined;
  /** The node to use if it is able. */
  readonly prefer?: string | undefined;
  /** How the node is chosen: `least_loaded`, `round_robin`, … */
  readonly strategy?: Strategy | (string & {}) | undefined;
  /** W3C `traceparent`. Default: that of the span which is active here, when a provider is set up. */
  readonly trace?: string | undefined;
  /**
   * How long the signature is valid from now, when the client has a `signer`: `1h`, or milliseconds.
   * A node that is to start the task later, or again, refuses it. Default and most 24 h.
   */
  readonly expires?: string | number | undefined;
}

/** One submit of many. */
export interface SubmitItem extends SubmitOptions {
  readonly capability: string;
  readonly payload?: SubmitPayload;
}

/** A submit ready to be sent, any number of times. */
export interface Submission {
  readonly id: string;
  readonly subject: string;
  readonly body: Uint8Array;
  readonly headers: MsgHdrs;
  /** Ends when it is known what became of it. */
  readonly span: Span;
}

/** An id that nobody else has. */
export function newTaskId(): string {
  return randomUUID();
}

/** Who signs, and what time it is there. */
export interface Signing {
  readonly key: SigningKey;
  /** Wall clock, in milliseconds since 1970. */
  readonly nowMs: number;
}

/** Checks a task and builds what is sent for it, signed or not. Throws {@link SubmitError}. */
export function prepare(
  capability: string,
  payload: SubmitPayload,
  options: SubmitOptions,
  signing?: Signing,
): Submission {
  const { lane } = options;
  const id = options.id ?? newTaskId();
  if (options.id !== undefined && !isTaskId(id)) {
    throw new SubmitError(
      "bad_request",
      `${show(id)} is no task id: 1 to 64 characters of A-Z a-z 0-9 _ -`,
    );
  }
  if (!isCapability(capability)) {
    throw new SubmitError(
      "bad_capability",
      `${show(capability)} is no capability: 1 to 64 characters of A-Z a-z 0-9 _ -`,
      id,
    );
  }
  if (lane !== undefined && !Lane.safeParse(lane).success) {
    throw new SubmitError("bad_capability", `${show(lane)} is no lane: high, normal, low`, id);
  }
  const body = bodyOf(payload, id);
  const span = sending(capability, id, options.trace);
  const entries = headersOf({ ...options, trace: traceparentOf(span) ?? options.trace }, id);
  if (signing !== undefined) {
    entries.push(...signatureOf({ id, capability, body, options, entries }, signing));
  } else if (options.expires !== undefined) {
    throw new SubmitError("bad_request", "expires is of a signature, and there is no signer", id);
  }
  const subject = submitSubject(capability, lane);
  return { id, subject, body, headers: headerBlock(entries), span };
}

/** The span of the submit: until the task is durable. Nothing, unless the program has a provider. */
function sending(capability: string, id: string, parent: string | undefined): Span {
  return startSpan(`send ${capability}`, {
    kind: SpanKind.PRODUCER,
    parent,
    attributes: { "messaging.system": "nats", "mesh.task": id, "mesh.capability": capability },
  });
}

interface Unsigned {
  readonly id: string;
  readonly capability: string;
  readonly body: Uint8Array;
  readonly options: SubmitOptions;
  readonly entries: readonly HeaderEntry[];
}

function signatureOf(task: Unsigned, { key, nowMs }: Signing): readonly HeaderEntry[] {
  const { id, capability, body, options, entries } = task;
  const header = (name: string): string => entries.find(([one]) => one === name)?.[1] ?? "";
  const validMs = millisecondsOf(options.expires) ?? 0;
  if (!(validMs >= 1 && validMs <= SIGNATURE_LIFETIME_MAX_MS)) {
    throw new SubmitError(
      "bad_request",
      `expires: ${show(options.expires)} is no duration such as 30s, 5m or 1h, at most 24h`,
      id,
    );
  }
  const expires = isoTime(nowMs + validMs);
  const text = signedText({
    id,
    capability,
    payloadSha256: createHash("sha256").update(body).digest("hex"),
    timeoutMs: parseDuration(header(Header.timeout)) ?? TIMEOUT_DEFAULT_MS,
    requires: header(Header.requires),
    expires,
    signer: key.publicKey,
  });
  return signatureHeaders({ signer: key.publicKey, expires, signature: key.sign(text) });
}

function millisecondsOf(expires: SubmitOptions["expires"]): number | undefined {
  if (expires === undefined) return SIGNATURE_LIFETIME_MAX_MS;
  return typeof expires === "number" ? Math.trunc(expires) : parseDuration(expires);
}

function bodyOf(payload: SubmitPayload, id: string): Uint8Array {
  const body = serialize(payload, id);
  // The library's own encoder takes four times as long as this one.
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  if (bytes.length > PAYLOAD_MAX_BYTES) {
    throw new SubmitError(
      "payload_too_large",
      `the payload has ${bytes.length} bytes, at most ${PAYLOAD_MAX_BYTES} are taken; send a reference to it`,
      id,
    );
  }
  return bytes;
}

function serialize(payload: SubmitPayload, id: string): Uint8Array | string {
  if (payload === undefined) return "";
  if (typeof payload === "string" || payload instanceof Uint8Array) return payload;
  let json: unknown;
  try {
    json = encode(payload);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new SubmitError("bad_request", `the payload cannot be written as JSON: ${reason}`, id);
  }
  // A function or a symbol has no JSON at all.
  if (typeof json !== "string") {
    throw new SubmitError("bad_request", `a ${typeof payload} cannot be written as JSON`, id);
  }
  return json;
}

function headersOf(options: SubmitOptions, id: string): HeaderEntry[] {
  const entries: HeaderEntry[] = [[Header.msgId, id]];
  for (const [name, write] of OPTION_HEADERS) {
    const value = write(options);
    if (value === undefined || value === "") continue;
    // A header is one line, and the mesh would not see what is wrong.
    if (/[\r\n]/.test(value)) {
      throw new SubmitError("bad_header", `${name}: ${show(value)} holds a line break`, id);
    }
    entries.push([name, value.trim()]);
  }
  if (entries.length > 1) {
    const values = new Map(entries);
    const parsed = parseSubmitHeaders({ get: (name) => values.get(name) ?? "" });
    if (isBadHeader(parsed)) {
      throw new SubmitError("bad_header", `${parsed.header}: ${parsed.problem}`, id);
    }
  }
  return entries;
}

/** The options that travel as headers, and how each is written. */
const OPTION_HEADERS: readonly (readonly [
  name: string,
  write: (options: SubmitOptions) => string | undefined,
])[] = [
  [Header.maxAttempts, ({ maxAttempts: most }) => (most === undefined ? most : String(most))],
  [Header.timeout, ({ timeout }) => durationText(timeout)],
  [Header.backoff, ({ backoff }) => backoffText(backoff)],
  [Header.requires, ({ requires }) => labelsText(requires)],
  [Header.prefer, ({ prefer }) => prefer],
  [Header.strategy, ({ strategy }) => strategy],
  [Header.traceparent, ({ trace }) => trace],
];

function durationText(timeout: string | number | undefined): string | undefined {
  return typeof timeout === "number" ? formatDuration(timeout) : timeout;
}

function backoffText(backoff: string | Backoff | undefined): string | undefined {
  if (backoff === undefined || typeof backoff === "string") return backoff;
  return backoff.kind === "fixed"
    ? `fixed:${formatDuration(backoff.delayMs)}`
    : `exponential:${formatDuration(backoff.baseMs)}:${formatDuration(backoff.maxMs)}`;
}

function labelsText(requires: SubmitOptions["requires"]): string | undefined {
  if (requires === undefined || typeof requires === "string") return requires;
  const pairs = Object.entries(requires);
  return pairs.length === 0
    ? undefined
    : pairs.map(([name, value]) => `${name}=${value}`).join(",");
}

function show(value: unknown): string {
  return encode(String(value).slice(0, 80));
}
