/** The leader's part of a task's trace, as a provider is told it; the whole of it: test/cluster/tracing.test.ts. */
import { trace } from "@opentelemetry/api";
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-node";
import type { TaskRecord } from "@swarm-mesh/protocol";
import { afterEach, expect, test } from "vitest";
import { beginTrace, TaskTrace } from "../services/coordinator/src/task-trace.ts";

const SUBMIT = `00-${"ab".repeat(16)}-${"cd".repeat(8)}-01`;
const TASK = { id: "t1", capability: "echo", precedence: "normal", storedAtMs: 1_700_000_000_123 };

afterEach(() => trace.disable());

test("without a provider the submit's context goes on as it came, and no trace is begun", () => {
  const traced = new TaskTrace(TASK, SUBMIT);
  traced.began(running(1));
  expect(traced.traceparent).toBe(SUBMIT);
  traced.close("cancelled");
  expect(beginTrace(TASK)).toBeUndefined();
});

test("a node is given the try's context, in the trace of the submit", () => {
  const told = record();
  const traced = new TaskTrace(TASK, SUBMIT);
  traced.began(running(1));
  expect(traced.traceparent).toMatch(new RegExp(`^00-${"ab".repeat(16)}-[0-9a-f]{16}-01$`));
  expect(traced.traceparent).not.toBe(SUBMIT);
  traced.close("cancelled");
  const [queued, tried] = told();
  expect(queued).toMatchObject({ name: "queue wait", startTime: [1_700_000_000, 123_000_000] });
  expect(tried).toMatchObject({
    name: "try",
    attributes: { "mesh.attempt": 1, "mesh.node": "n1", "mesh.status": "cancelled" },
  });
});

test("the next try follows the one before, and a task that was adopted has not waited", () => {
  const told = record();
  const traced = new TaskTrace(TASK, SUBMIT);
  traced.began(running(1), true);
  traced.moving(running(1), "node_failed");
  traced.began(running(2));
  traced.recorded(traced.recording(), { ...running(2), status: "succeeded" });
  const spans = told();
  expect(spans.map(({ name }) => name)).toEqual(["try", "queue wait", "migrate", "record", "try"]);
  const [first, , , , second] = spans;
  expect(first).toMatchObject({ attributes: { "mesh.adopted": true }, status: { code: 2 } });
  expect(second?.links.map(({ context }) => context.spanId)).toEqual([first?.spanContext().spanId]);
});

test("a trace that the coordinator begins has a root that asks to be recorded", () => {
  const told = record();
  const traceparent = beginTrace(TASK);
  const [root] = told();
  const { traceId, spanId } = root?.spanContext() ?? {};
  expect(traceparent).toBe(`00-${traceId}-${spanId}-01`);
});

/** Records from now on; the spans that ended. */
function record() {
  const exporter = new InMemorySpanExporter();
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  trace.setGlobalTracerProvider(provider);
  return () => exporter.getFinishedSpans();
}

function running(attempt: number): TaskRecord {
  return {
    ...{ id: "t1", capability: "echo", lane: "normal", status: "running", attempt },
    ...{ maxAttempts: 3, node: `n${attempt}`, agent: null, incarnation: 1, epoch: 1 },
    ...{ submittedAt: "2026-11-21T12:00:00.000Z", startedAt: null, finishedAt: null, dueAt: null },
    ...{ progress: null, result: null, error: null, migrations: [], tries: [], trace: SUBMIT },
  };
}
