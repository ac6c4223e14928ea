/**
 * Traces of tasks, by OpenTelemetry's API: one trace a task, from the client that submits it to the
 * record of its end. Without a provider, which only a program can set up, nothing is recorded and
 * the `traceparent` of a submit travels as it came.
 */
import {
  type Attributes,
  type Context,
  context,
  type HrTime,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from "@opentelemetry/api";
import { VERSION } from "@swarm-mesh/protocol";

export { type Span, SpanKind } from "@opentelemetry/api";

export interface SpanStart {
  readonly kind?: SpanKind;
  /** The W3C `traceparent` it belongs to. Without it: what is active here, or a trace of its own. */
  readonly parent?: string | undefined;
  /** A try that it follows. */
  readonly follows?: Span | undefined;
  /** Wall clock, milliseconds since the epoch. Default: now. */
  readonly atMs?: number;
  readonly attributes?: Attributes;
}

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/** Starts a span of the mesh. One that nobody records costs next to nothing, and has no id. */
export function startSpan(name: string, start: SpanStart): Span {
  const { parent, kind = SpanKind.INTERNAL, attributes, atMs, follows } = start;
  return trace.getTracer("swarm-mesh", VERSION).startSpan(
    name,
    {
      kind,
      ...(attributes === undefined ? {} : { attributes }),
      ...(atMs === undefined ? {} : { startTime: hrTime(atMs) }),
      ...(follows === undefined ? {} : { links: [{ context: follows.spanContext() }] }),
    },
    parent === undefined ? context.active() : contextOf(parent),
  );
}

/** Ends a span; with a `problem` as one that went wrong. */
export function endSpan(span: Span, problem?: string): void {
  if (problem !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: problem });
  span.end();
}

/** Runs `work` with `span` active, so that spans begun in it are its children. */
export function withSpan<T>(span: Span, work: () => T): T {
  return context.with(trace.setSpan(context.active(), span), work);
}

/** The `traceparent` of a span that is recorded; `undefined` of one that is not. */
export function traceparentOf(span: Span): string | undefined {
  if (!span.isRecording()) return undefined;
  const { traceId, spanId, traceFlags } = span.spanContext();
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
}

/** Does the `traceparent` ask to be recorded? */
export function isSampled(traceparent: string): boolean {
  return (Number.parseInt(traceparent.slice(-2), 16) & TraceFlags.SAMPLED) !== 0;
}

function contextOf(traceparent: string): Context {
  const [, traceId = "", spanId = "", flags = "00"] = TRACEPARENT.exec(traceparent) ?? [];
  const traceFlags = Number.parseInt(flags, 16);
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
}

/** As a pair, because a plain number from before the process began is taken for a duration. */
function hrTime(ms: number): HrTime {
  const seconds = Math.floor(ms / 1_000);
  return [seconds, Math.round((ms - seconds * 1_000) * 1e6)];
}
