/**
 * Headers of a submit and of a dispatch, and how a submit's are read.
 */

import { parseDuration } from "./duration.ts";
import { ATTEMPTS_DEFAULT, ATTEMPTS_MAX, TIMEOUT_DEFAULT_MS } from "./limits.ts";
import { isNodeId, isTaskId, Labels } from "./names.ts";
import { TaskSignature } from "./signature.ts";

/** Header names, as they are on the wire. */
export const Header = {
  /** The task id, chosen by the caller. */
  msgId: "Nats-Msg-Id",
  maxAttempts: "Mesh-Max-Attempts",
  timeout: "Mesh-Timeout",
  backoff: "Mesh-Backoff",
  requires: "Mesh-Requires",
  prefer: "Mesh-Prefer",
  strategy: "Mesh-Strategy",
  traceparent: "traceparent",
  /** Who signed the task: a public nkey. See signature.ts. */
  signer: "Mesh-Signer",
  /** Until when the signature is valid, ISO 8601. */
  expires: "Mesh-Expires",
  /** The signature, base64url. */
  signature: "Mesh-Signature",
  /** On a dispatch, a retry and a dead letter: the task's id. */
  taskId: "Mesh-Task-Id",
  /** On a dispatch: the try. On a retry: the try it is to become. */
  attempt: "Mesh-Attempt",
  /** On a dispatch: the leader's term. */
  epoch: "Mesh-Epoch",
  /** On a dispatch: the node's life the task is meant for. */
  incarnation: "Mesh-Incarnation",
  /** On a dispatch: the capability. */
  capability: "Mesh-Capability",
  /** On a retry and a dead letter: the lane of the submit. */
  lane: "Mesh-Lane",
  /** On a retry and a dead letter: when the submit was stored, ISO 8601. */
  submittedAt: "Mesh-Submitted-At",
  /** On a dispatch after an earlier try: what that try saved, base64. */
  checkpoint: "Mesh-Checkpoint",
  /** On a dead letter: the final status. */
  status: "Mesh-Status",
  /** On a dead letter: the last error, JSON. */
  error: "Mesh-Error",
  /** On a dead letter: every failed try, JSON. */
  tries: "Mesh-Tries",
} as const;

/** The headers a submitter may set; these travel with the task to the node and into a dead letter. */
export const SUBMIT_HEADERS = [
  Header.maxAttempts,
  Header.timeout,
  Header.backoff,
  Header.requires,
  Header.prefer,
  Header.strategy,
  Header.traceparent,
  Header.signer,
  Header.expires,
  Header.signature,
] as const;

/** How the node for a task is chosen among those able to take it. */
export const STRATEGIES = [
  "least_loaded",
  "round_robin",
  "local_first",
  "priority",
  "latency_aware",
  "bandwidth_aware",
] as const;
export type Strategy = (typeof STRATEGIES)[number];

/** The wait before the next try. */
export type Backoff =
  | { readonly kind: "fixed"; readonly delayMs: number }
  | { readonly kind: "exponential"; readonly baseMs: number; readonly maxMs: number };

/** `exponential:1s:60s`: 1 s, 2 s, 4 s … 60 s, each with full jitter on its upper half. */
export const BACKOFF_DEFAULT: Backoff = { kind: "exponential", baseMs: 1_000, maxMs: 60_000 };

/** What a submit's headers ask for, defaults filled in. */
export interface SubmitOptions {
  readonly maxAttempts: number;
  readonly timeoutMs: number;
  readonly backoff: Backoff;
  readonly requires: Labels | undefined;
  readonly prefer: string | undefined;
  readonly strategy: Strategy;
  readonly trace: string | undefined;
  /** Well-formed; whether it is good is for the node to say. */
  readonly signature: TaskSignature | undefined;
}

/** The options of a submit without headers; shared, because most tasks have none. */
export const SUBMIT_OPTIONS_DEFAULT: SubmitOptions = {
  maxAttempts: ATTEMPTS_DEFAULT,
  timeoutMs: TIMEOUT_DEFAULT_MS,
  backoff: BACKOFF_DEFAULT,
  requires: undefined,
  prefer: undefined,
  strategy: "least_loaded",
  trace: undefined,
  signature: undefined,
};

/** The problem with a header, as it is told to the submitter. */
export interface BadHeader {
  readonly header: string;
  readonly problem: string;
}

/** The part of a NATS header map that is needed here; `""` when a header is missing. */
export interface HeaderSource {
  get(name: string): string;
}

/** Reads the headers of a submit. Unknown headers are carried nowhere and are no error. */
export function parseSubmitHeaders(headers: HeaderSource | undefined): SubmitOptions | BadHeader {
  if (headers === undefined) return SUBMIT_OPTIONS_DEFAULT;
  const maxAttempts = parseCount(headers.get(Header.maxAttempts));
  if (maxAttempts === undefined) {
    return bad(Header.maxAttempts, headers, `a whole number from 1 to ${ATTEMPTS_MAX}`);
  }
  const timeout = headers.get(Header.timeout);
  const timeoutMs = timeout === "" ? TIMEOUT_DEFAULT_MS : parseDuration(timeout);
  if (timeoutMs === undefined) {
    return bad(Header.timeout, headers, "a duration such as 500ms, 30s or 5m, at most 24h");
  }
  const backoff = parseBackoff(headers.get(Header.backoff));
  if (backoff === undefined) {
    return bad(
      Header.backoff,
      headers,
      "fixed:<wait> or exponential:<first>:<most>, as in fixed:2s",
    );
  }
  const requires = parseRequires(headers.get(Header.requires));
  if (requires === "bad") {
    return bad(Header.requires, headers, "labels such as gpu=a100,zone=eu");
  }
  const prefer = headers.get(Header.prefer);
  if (prefer !== "" && !isNodeId(prefer)) return bad(Header.prefer, headers, "a node id");
  const strategy = headers.get(Header.strategy) || "least_loaded";
  if (!isStrategy(strategy)) {
    return bad(Header.strategy, headers, `one of ${STRATEGIES.join(", ")}`);
  }
  const signature = parseSignature(headers);
  if (signature !== undefined && "problem" in signature) return signature;
  const trace = headers.get(Header.traceparent);
  return {
    maxAttempts,
    timeoutMs,
    backoff,
    requires,
    prefer: prefer === "" ? undefined : prefer,
    strategy,
    // A malformed trace context is dropped, as the W3C recommendation asks: it must not harm the task.
    trace: /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(trace) ? trace : undefined,
    signature,
  };
}

/** The three headers of a signature. */
const SIGNATURE_HEADERS = {
  signer: Header.signer,
  expires: Header.expires,
  signature: Header.signature,
} as const;

/** The headers that carry `signature`. */
export function signatureHeaders(signature: TaskSignature): (readonly [string, string])[] {
  return [
    [Header.signer, signature.signer],
    [Header.expires, signature.expires],
    [Header.signature, signature.signature],
  ];
}

/** Reads them: `undefined` when there is none, a problem when one is missing or malformed. */
export function parseSignature(headers: HeaderSource): TaskSignature | BadHeader | undefined {
  const read = {
    signer: headers.get(Header.signer),
    expires: headers.get(Header.expires),
    signature: headers.get(Header.signature),
  };
  if (read.signer === "" && read.expires === "" && read.signature === "") return undefined;
  const parsed = TaskSignature.safeParse(read);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue?.path[0] as keyof typeof SIGNATURE_HEADERS;
  const problem =
    read[field] === "" ? "missing; a signature has three headers" : (issue?.message ?? "malformed");
  return { header: SIGNATURE_HEADERS[field], problem };
}

export function isBadHeader(options: SubmitOptions | BadHeader): options is BadHeader {
  return "problem" in options;
}

/** The id a submit asked for: `undefined` when none, a problem when it is malformed. */
export function parseMsgId(value: string): string | undefined | BadHeader {
  if (value === "") return undefined;
  if (isTaskId(value)) return value;
  return {
    header: Header.msgId,
    problem: `${quote(value)} is no task id: 1 to 64 characters of A-Z a-z 0-9 _ -`,
  };
}

function bad(header: string, headers: HeaderSource, expected: string): BadHeader {
  return { header, problem: `${quote(headers.get(header))} is not ${expected}` };
}

/** A value as it can be shown: cut, and with control characters escaped. */
function quote(value: string): string {
  const shown = JSON.stringify(value.slice(0, 80));
  return value.length > 80 ? `${shown}… (${value.length} characters)` : shown;
}

function parseCount(text: string): number | undefined {
  if (text === "") return ATTEMPTS_DEFAULT;
  if (!/^\d{1,3}$/.test(text)) return undefined;
  const count = Number(text);
  return count >= 1 && count <= ATTEMPTS_MAX ? count : undefined;
}

function parseBackoff(text: string): Backoff | undefined {
  if (text === "") return BACKOFF_DEFAULT;
  const [kind, first, most, ...rest] = text.split(":");
  const firstMs = parseDuration(first ?? "");
  if (firstMs === undefined || rest.length > 0) return undefined;
  if (kind === "fixed") return most === undefined ? { kind, delayMs: firstMs } : undefined;
  const mostMs = parseDuration(most ?? "");
  if (kind !== "exponential" || mostMs === undefined || mostMs < firstMs) return undefined;
  return { kind, baseMs: firstMs, maxMs: mostMs };
}

/** Reads `Mesh-Requires`: `undefined` when it is empty, `"bad"` when it is malformed. */
export function parseRequires(text: string): Labels | undefined | "bad" {
  if (text === "") return undefined;
  if (text.length > 8_192) return "bad";
  const pairs = text.split(",").map((pair) => pair.trim().split("="));
  if (pairs.some((pair) => pair.length !== 2)) return "bad";
  const parsed = Labels.safeParse(Object.fromEntries(pairs));
  // A label said twice contradicts itself, and one named `__proto__` would be lost on the way.
  const all = parsed.success && Object.keys(parsed.data).length === pairs.length;
  return all ? parsed.data : "bad";
}

function isStrategy(text: string): text is Strategy {
  return (STRATEGIES as readonly string[]).includes(text);
}
