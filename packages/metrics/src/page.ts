/** Makes text for Prometheus of what a process has counted, and of the process itself. */
import type { Histogram, Meter, Meters, Sample } from "@swarm-mesh/runtime";
import type { Metric, MetricObjectWithValues, MetricValueWithName, Registry } from "prom-client";

/** A page to be scraped. */
export interface MetricsPage {
  readonly contentType: string;
  /** All metrics as they are now. Never rejects: what cannot be read is left out. */
  readonly text: () => Promise<string>;
}

type Values = MetricObjectWithValues<MetricValueWithName<string>>;

/** How long one metric may take to be read: a scrape is given up after 10 s as a rule. */
const READ_TIMEOUT_MS = 3_000;

/** Gauges of the library that are named as counters are; each is the sum of one that is well named. */
const MISNAMED = [
  "nodejs_active_handles_total",
  "nodejs_active_requests_total",
  "nodejs_active_resources_total",
];

/**
 * Opens the page of `meters`, with the usual `process_*` and `nodejs_*` beside them. From then on the
 * delay of the event loop is measured, which wakes an idle process a hundred times a second.
 */
export async function metricsPage(meters: Meters): Promise<MetricsPage> {
  // Whoever has no page does not load the library.
  const { collectDefaultMetrics, Registry: NewRegistry } = await import("prom-client");
  const registry: Registry = new NewRegistry();
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
  const text = (): Promise<string> => {
    // A service may come to have more of them while it runs.
    for (const meter of meters.all()) register(registry, meter);
    return registry.metrics();
  };
  return { contentType: registry.contentType, text };
}

/**
 * The library's own metrics look their labels up at each count; ours are counted elsewhere, and only
 * written by it. What it needs of one to be written is these fields.
 */
function register(registry: Registry, meter: Meter): void {
  const { name, help, type } = meter;
  if (registry.getSingleMetric(name) !== undefined) return;
  const get = async (): Promise<Values> => {
    const values = meter.type === "histogram" ? histogramValues(meter) : await plainValues(meter);
    return { name, help, type, values, aggregator: "sum" } as unknown as Values;
  };
  registry.registerMetric({ name, get } as unknown as Metric);
}

interface Value {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

async function plainValues(meter: Extract<Meter, { type: "counter" | "gauge" }>) {
  let samples: readonly Sample[] = [];
  try {
    samples = await Promise.race([meter.read(), late()]);
  } catch {
    // Not to be had now; a gap says so better than an old number.
  }
  return samples.map(
    ({ labels, value }): Value => ({
      metricName: meter.name,
      labels: named(meter.labels, labels),
      value,
    }),
  );
}

function late(): Promise<never> {
  return new Promise((_, reject) => {
    AbortSignal.timeout(READ_TIMEOUT_MS).addEventListener("abort", () => reject(new Error("late")));
  });
}

function histogramValues({ name, labels: names, cells }: Extract<Meter, { type: "histogram" }>) {
  const values: Value[] = [];
  for (const [given, cell] of cells()) {
    const labels = named(names, given);
    const count = buckets(cell, (le, value) => {
      values.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value });
    });
    values.push({ metricName: `${name}_sum`, labels, value: cell.sum });
    values.push({ metricName: `${name}_count`, labels, value: count });
  }
  return values;
}

/** Buckets as Prometheus wants them: each with all that is below it. Returns the number of all. */
function buckets(cell: Histogram, each: (le: string, value: number) => void): number {
  let sum = 0;
  cell.counts.forEach((count, at) => {
    sum += count;
    each(String(cell.bounds[at] ?? "+Inf"), sum);
  });
  return sum;
}

function named(names: readonly string[], values: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name, at) => [name, values[at] ?? ""]));
}
