/**
 * A task in this leader's hands: its message is delivered and not yet acknowledged.
 *
 * What is here can be rebuilt from the message and the record. The payload is let go as soon as a
 * node has it, and fetched again from the stream when it is needed once more.
 */
import { isSampled, type ReadHeaders } from "@swarm-mesh/bus";
import {
  type BadHeader,
  Header,
  isBadHeader,
  isCapability,
  isTaskId,
  type Labels,
  Lane,
  PAYLOAD_MAX_BYTES,
  parseMsgId,
  parseSubmitHeaders,
  SUBMIT_HEADERS,
  SUBMIT_OPTIONS_DEFAULT,
  type SubmitOptions,
  submitSubject,
  type TaskRecord,
  type WireError,
  wireError,
} from "@swarm-mesh/protocol";
import { type BriefMap, isoTime, timeOf } from "@swarm-mesh/runtime";
import type { Precedence, Waiting } from "./backlog.ts";
import type { Slot } from "./fleet.ts";
import type { Submission } from "./lifecycle.ts";
import { TaskTrace } from "./task-trace.ts";

/** A message of the task stream, as it was delivered or read. */
export interface Delivery {
  readonly subject: string;
  readonly headers: ReadHeaders | undefined | "malformed";
  readonly payload: Uint8Array;
  /** The stream that has it, and its sequence there. */
  readonly stream: string;
  readonly seq: number;
  readonly storedAtMs: number;
  /** Where to acknowledge it; `""` for a message that was read, not delivered. */
  readonly ack: string;
  /** It may have been in someone's hands before: read its record first. */
  readonly examine: boolean;
}

export type Phase = "waiting" | "starting" | "running" | "left";

/** A task whose message this leader has. */
export class HeldTask implements Waiting, Submission {
  readonly id: string;
  readonly capability: string;
  readonly lane: Lane;
  readonly precedence: Precedence;
  readonly options: SubmitOptions;
  readonly submittedAt: string;
  readonly stream: string;
  readonly seq: number;
  /** The submit's own headers, for the node and for a dead letter. */
  readonly forward: readonly (readonly [string, string])[];
  /** The try a message of the retry lane is to become. */
  readonly retryAttempt: number | undefined;
  readonly payloadBytes: number;
  /** When its message was stored, by the server's wall clock. */
  readonly storedAtMs: number;
  /** Its part of the trace, when the submit asks for one. */
  readonly traced: TaskTrace | undefined;
  ack: string;
  payload: Uint8Array | undefined;

  phase: Phase = "waiting";
  record: TaskRecord | undefined;
  revision = 0;
  slot: Slot | undefined;
  /** The node said that it has the current try. */
  accepted = false;
  /** Was the node asked, and has not answered yet? */
  asked = false;
  /** When the message was last shown to be alive to the server, on the monotonic clock. */
  renewedAtMs: number;
  /** When the current try was sent, on the monotonic clock. */
  sentAtMs = 0;
  /** When this leader began the current try, on the monotonic clock; `undefined`: another one did. */
  startedAtMs: number | undefined;
  /** Since when its node has been gone; `undefined` while it is there. */
  orphanSinceMs: number | undefined;
  /** Reported by the node and not yet written. */
  progress: { readonly value: unknown } | undefined;
  #tail: Promise<unknown> | undefined;

  constructor(parsed: ParsedTask, delivery: Delivery, nowMs: number) {
    this.id = parsed.id;
    this.capability = parsed.capability;
    this.lane = parsed.lane;
    this.precedence = parsed.retryAttempt === undefined ? parsed.lane : "retry";
    this.options = parsed.options;
    this.submittedAt = parsed.submittedAt;
    this.retryAttempt = parsed.retryAttempt;
    this.stream = delivery.stream;
    this.seq = delivery.seq;
    this.storedAtMs = delivery.storedAtMs;
    this.ack = delivery.ack;
    this.payload = delivery.payload;
    this.payloadBytes = delivery.payload.length;
    this.forward = withTrace(forwarded(delivery.headers), parsed.options.trace);
    this.renewedAtMs = nowMs;
    const { trace } = parsed.options;
    this.traced = trace !== undefined && isSampled(trace) ? new TaskTrace(this, trace) : undefined;
  }

  get requires(): Labels | undefined {
    return this.options.requires;
  }

  get gone(): boolean {
    return this.phase === "left";
  }

  /** Has a node the current try? Not when the record is final and only the node's answer is awaited. */
  get underWay(): boolean {
    return this.phase === "running" && this.record?.status === "running";
  }

  /** Runs `work` when all earlier work on this task is done: one write of its record at a time. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail === undefined ? work() : this.#tail.then(work);
    const done = (): void => {
      if (this.#tail === tail) this.#tail = undefined;
    };
    // A failure is the caller's; the next in line runs all the same.
    const tail = result.then(done, done);
    this.#tail = tail;
    return result;
  }
}

/** The tasks in the leader's hands, by id, to look at. */
export type TasksInHand = Pick<BriefMap<HeldTask>, "get" | "values">;

/** What a message's subject and headers say. */
export interface ParsedTask extends Submission {
  readonly retryAttempt: number | undefined;
  /** Why it can never run; the record and the dead letter say so. */
  readonly problem: WireError | undefined;
}

/** Reads a message of the task stream. A bad one still gets an id, so that it can be answered. */
export function parseTask(delivery: Delivery): ParsedTask {
  const tokens = delivery.subject.split(".");
  return tokens[2] === "retry" ? parseRetry(delivery, tokens) : parseSubmit(delivery, tokens);
}

function parseSubmit(delivery: Delivery, tokens: readonly string[]): ParsedTask {
  const headers = delivery.headers === "malformed" ? undefined : delivery.headers;
  const capability = tokens[3] ?? "";
  const lane = laneOf(tokens[4] ?? "normal");
  const wanted = headers === undefined ? undefined : parseMsgId(headers.get(Header.msgId));
  const badId = typeof wanted === "object" ? wanted : undefined;
  const options =
    headers !== undefined && asksForMore(headers)
      ? parseSubmitHeaders(headers)
      : SUBMIT_OPTIONS_DEFAULT;
  const base = {
    id: typeof wanted === "string" ? wanted : `s${delivery.seq}`,
    capability: tokens.slice(3).join(".").slice(0, 256),
    lane: lane ?? "normal",
    submittedAt: isoTime(delivery.storedAtMs),
    retryAttempt: undefined,
  } as const;
  const problem = submitProblem(delivery, tokens, lane !== undefined);
  if (problem !== undefined) return { ...base, options: SUBMIT_OPTIONS_DEFAULT, problem };
  const bad = badId ?? (isBadHeader(options) ? options : unnamed(options, wanted));
  return {
    ...base,
    capability,
    options: isBadHeader(options) ? SUBMIT_OPTIONS_DEFAULT : options,
    problem: bad && wireError("bad_header", `${bad.header}: ${bad.problem}`),
  };
}

/** What is signed is signed under an id, so whoever signs has to choose one. */
function unnamed(
  options: SubmitOptions,
  wanted: string | BadHeader | undefined,
): BadHeader | undefined {
  if (options.signature === undefined || wanted !== undefined) return undefined;
  return { header: Header.msgId, problem: "missing; a signed task is signed under its id" };
}

function laneOf(text: string): Lane | undefined {
  return Lane.options.find((lane) => lane === text);
}

function submitProblem(
  delivery: Delivery,
  tokens: readonly string[],
  laneKnown: boolean,
): WireError | undefined {
  const expected = `${submitSubject("<capability>")}, or with .high, .normal or .low behind it`;
  if (tokens.length > 5 || !laneKnown) {
    return wireError("bad_capability", `${delivery.subject.slice(0, 200)}: expected ${expected}`);
  }
  if (!isCapability(tokens[3] ?? "")) {
    const shown = JSON.stringify((tokens[3] ?? "").slice(0, 80));
    return wireError("bad_capability", `${shown} is no capability: 1 to 64 of A-Z a-z 0-9 _ -`);
  }
  if (delivery.headers === "malformed") {
    return wireError("bad_header", "the headers are malformed: a name holds what no name may hold");
  }
  if (delivery.payload.length > PAYLOAD_MAX_BYTES) {
    const size = delivery.payload.length;
    return wireError("payload_too_large", `${size} bytes; at most ${PAYLOAD_MAX_BYTES}`);
  }
  return undefined;
}

/**
 * A retry is the control plane's own message: what it says was checked when the submit came. One put
 * there by hand, without a task's id, is answered as a task of its own.
 */
function parseRetry(delivery: Delivery, tokens: readonly string[]): ParsedTask {
  const headers = delivery.headers === "malformed" ? undefined : delivery.headers;
  const options = parseSubmitHeaders(headers);
  const lane = laneOf(headers?.get(Header.lane) ?? "");
  const id = headers?.get(Header.taskId) ?? "";
  const named = isTaskId(id);
  return {
    id: named ? id : `retry-s${delivery.seq}`,
    capability: tokens[3] ?? "",
    lane: lane ?? "normal",
    options: isBadHeader(options) ? SUBMIT_OPTIONS_DEFAULT : options,
    submittedAt: validTime(headers?.get(Header.submittedAt)) ?? isoTime(delivery.storedAtMs),
    retryAttempt: attemptOf(headers?.get(Header.attempt)),
    problem: named ? undefined : wireError("bad_header", `${Header.taskId} names no task`),
  };
}

/** Whatever is no number to count on from is the first. */
function attemptOf(text: string | undefined): number {
  const attempt = Number(text);
  return Number.isSafeInteger(attempt) && attempt > 0 ? attempt : 1;
}

function validTime(text: string | undefined): string | undefined {
  const ms = timeOf(text ?? "");
  return Number.isNaN(ms) ? undefined : isoTime(ms);
}

const NONE: readonly (readonly [string, string])[] = [];
const OPTIONS: ReadonlySet<string> = new Set(SUBMIT_HEADERS);

/** Has it a header that asks for something? Most tasks have an id and no more. */
function asksForMore(headers: ReadHeaders): boolean {
  for (const [name] of headers) if (OPTIONS.has(name)) return true;
  return false;
}

/** The longest header that travels on: no good one is longer, and a retry must fit where a submit did. */
const FORWARDED_MAX_CHARS = 8_192;

function forwarded(headers: Delivery["headers"]): readonly (readonly [string, string])[] {
  if (headers === undefined || headers === "malformed" || !asksForMore(headers)) return NONE;
  return SUBMIT_HEADERS.flatMap((name) => {
    const value = headers.get(name);
    return value === "" || value.length > FORWARDED_MAX_CHARS ? [] : [[name, value] as const];
  });
}

/** A trace that the coordinator began goes with the task as if the submit had brought it. */
function withTrace(headers: HeldTask["forward"], trace: string | undefined): HeldTask["forward"] {
  const known = trace === undefined || headers.some(([name]) => name === Header.traceparent);
  return known ? headers : [...headers, [Header.traceparent, trace]];
}
