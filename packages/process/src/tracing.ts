/**
 * Sends traces to whoever OTEL_EXPORTER_OTLP_ENDPOINT names. Without it nothing is loaded or recorded.
 *
 * OpenTelemetry's own variables say the rest: OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER,
 * OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
 */
import { hostname } from "node:os";
import { VERSION } from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";

/** Tells what is left to tell, and ends. */
export type StopTracing = () => Promise<void>;

/** How long the last spans may take to be sent when a process ends. */
const FLUSH_MS = 2_000;

/** Sets up the process's provider when the environment asks for one. */
export async function startTracing(
  service: string,
  instance: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<StopTracing> {
  const endpoint = env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] || env["OTEL_EXPORTER_OTLP_ENDPOINT"];
  if (endpoint === undefined || endpoint === "" || env["OTEL_SDK_DISABLED"] === "true") {
    return async () => undefined;
  }
  const [{ BatchSpanProcessor, NodeTracerProvider }, { OTLPTraceExporter }, resources] =
    await Promise.all([
      import("@opentelemetry/sdk-trace-node"),
      import("@opentelemetry/exporter-trace-otlp-http"),
      import("@opentelemetry/resources"),
    ]);
  const own = resources.resourceFromAttributes({
    "service.name": env["OTEL_SERVICE_NAME"] || `swarm-mesh-${service}`,
    "service.version": VERSION,
    "service.instance.id": instance,
    "host.name": hostname(),
  });
  const asked = resources.detectResources({ detectors: [resources.envDetector] });
  const provider = new NodeTracerProvider({
    resource: own.merge(asked),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  provider.register();
  return async () => {
    // An exporter that hangs must not keep a process from ending.
    await Promise.race([provider.shutdown().catch(() => undefined), systemClock.sleep(FLUSH_MS)]);
  };
}
