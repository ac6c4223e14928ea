/** One trace a task: from the client that submits it over every try and move to the record of its end. */
import { readFile } from "node:fs/promises";
import { context, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-node";
import { connectClient, type MeshClient } from "@swarm-mesh/client";
import { Mesh } from "@swarm-mesh/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { OtlpReceiver, type SeenSpan } from "./otlp.ts";

const OWN = new InMemorySpanExporter();
const SAMPLED_OUT = `00-${"ab".repeat(16)}-${"cd".repeat(8)}-00`;

let receiver: OtlpReceiver;
let mesh: Mesh;
let client: MeshClient;

beforeAll(async () => {
  receiver = await OtlpReceiver.start();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_BSP_SCHEDULE_DELAY: "100" };
  mesh = await Mesh.start({ nodes: 2, env });
  new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(OWN)] }).register();
  const seed = await readFile(mesh.key("client"));
  client = await connectClient({ servers: mesh.url, seed });
});

afterAll(async () => {
  await client.close();
  await mesh.stop();
  receiver.stop();
  trace.disable();
  context.disable();
});

test("a task that moves is one picture: submit, both tries, the migration and the record", async () => {
  await client.submit("count", 12, { id: "moving", prefer: "n2" });
  await mesh.waitFor("moving", ({ node, progress }) => node === "n2" && progress !== null);
  mesh.kill("n2");
  const record = await mesh.waitFor("moving", ({ status }) => status === "succeeded");
  expect(record).toMatchObject({ node: "n1", attempt: 2 });
  const [send] = OWN.getFinishedSpans();
  const { traceId = "", spanId = "" } = send?.spanContext() ?? {};
  expect(record.trace).toBe(`00-${traceId}-${spanId}-01`);
  await expect
    .poll(() => receiver.trace(traceId).map(({ name }) => name))
    .toEqual(expect.arrayContaining(["record", "run count"]));
  await expect.poll(() => receiver.trace(traceId).length).toBe(6);
  expect(`${send?.name}\n${picture(receiver.trace(traceId), spanId)}`).toBe(
    [
      "send count",
      "  queue wait",
      "  try 1 on n2: node_failed",
      "  migrate n2 to n1: node_failed",
      "  try 2 on n1",
      "    run count 2 on n1",
      "  record succeeded",
    ].join("\n"),
  );
}, 60_000);

test("tasks that travel in one batch keep each its own trace", async () => {
  const items = Array.from({ length: 20 }, (_, at) => ({
    capability: "echo",
    payload: "x",
    id: `batched-${at}`,
  }));
  for await (const result of client.submitMany(items)) expect(result.kind).toBe("submitted");
  await Promise.all(items.map(({ id }) => client.wait(id)));
  const runs = () => receiver.spans.filter(({ name }) => name === "run echo");
  await expect.poll(() => runs().length, { timeout: 10_000 }).toBe(items.length);
  const sent = new Map(
    OWN.getFinishedSpans().map((span) => [span.attributes["mesh.task"], span.spanContext()]),
  );
  for (const { traceId, attributes } of runs()) {
    expect(traceId).toBe(sent.get(attributes["mesh.task"])?.traceId);
  }
});

test("what the submitter did not sample, or does not trace, nobody records", async () => {
  const before = receiver.spans.length;
  await client.submit("echo", "x", { id: "unsampled", trace: SAMPLED_OUT });
  expect((await client.wait("unsampled")).trace).toBe(SAMPLED_OUT);
  const plain = await mesh.connect("client");
  const subject = "mesh.tasks.submit.echo";
  const { seq } = (await plain.request(subject, "x")).json<{ seq: number }>();
  expect((await client.wait(`s${seq}`)).trace).toBeNull();
  // Whatever they had recorded would be sent before this one is.
  await context.with(ROOT_CONTEXT, () => client.run("echo", "x", { id: "last" }));
  await expect
    .poll(() => receiver.spans.some(({ attributes }) => attributes["mesh.task"] === "last"))
    .toBe(true);
  const later = receiver.spans.slice(before).map(({ attributes }) => attributes["mesh.task"]);
  expect(later).not.toContain("unsampled");
  expect(later).not.toContain(`s${seq}`);
});

/** The trace as a tree, below the span that was recorded here. */
function picture(spans: readonly SeenSpan[], parent: string, indent = "  "): string {
  return spans
    .filter(({ parentSpanId }) => parentSpanId === parent)
    .map((span) => {
      const children = picture(spans, span.spanId, `${indent}  `);
      return `${indent}${lineOf(span)}${children === "" ? "" : `\n${children}`}`;
    })
    .join("\n");
}

function lineOf({ name, attributes, failed, problem }: SeenSpan): string {
  const of = (key: string): string => String(attributes[`mesh.${key}`] ?? "");
  const words = [name, of("attempt"), of("status")];
  if (name === "record") words.splice(1, 2, of("status"));
  if (of("node") !== "") words.splice(2, 1, "on", of("node"));
  if (name === "migrate") words.splice(1, 2, of("from"), "to", of("to"));
  const why = name === "migrate" ? of("reason") : failed ? problem : undefined;
  return `${words.filter((word) => word !== "").join(" ")}${why === undefined ? "" : `: ${why}`}`;
}
