/**
 * Reads Prometheus' text format as strictly as its description has it, so that a test finds what a
 * lenient scraper would let pass. https://prometheus.io/docs/instrumenting/exposition_formats/
 */

export interface Exposed {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly samples: Sample[];
}

interface Sample {
  /** With `_bucket`, `_sum` or `_count` behind it for a histogram. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const TYPES = ["counter", "gauge", "histogram", "summary", "untyped"];
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y;

/** The metrics of a page by name. Throws at the first line that breaks a rule. */
export function parseExposition(text: string): Map<string, Exposed> {
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  const metrics = new Map<string, Exposed>();
  let current: Exposed | undefined;
  let help: [name: string, text: string] | undefined;
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const [, kind, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (kind === "HELP") {
      if (metrics.has(name)) throw new Error(`${name} is there twice`);
      help = [name, rest];
    } else if (kind === "TYPE") {
      if (help?.[0] !== name) throw new Error(`${name} has a type before its help`);
      if (!TYPES.includes(rest)) throw new Error(`${name}: ${rest} is no type`);
      current = { name, help: help[1], type: rest, samples: [] };
      metrics.set(name, current);
    } else {
      addSample(current, line);
    }
  }
  for (const metric of metrics.values()) checkHistogram(metric);
  return metrics;
}

function addSample(metric: Exposed | undefined, line: string): void {
  const [, name = "", labels = "", value = ""] = SAMPLE.exec(line) ?? [];
  if (metric === undefined || name === "") throw new Error(`not to be read: ${line}`);
  const ends = metric.type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
  if (!ends.some((end) => name === metric.name + end)) {
    throw new Error(`${line} stands under ${metric.name}`);
  }
  const sample = { name, labels: parseLabels(labels, line), value: numberOf(value, line) };
  const key = JSON.stringify([name, Object.entries(sample.labels).sort()]);
  if (metric.samples.some((one) => keyOf(one) === key)) throw new Error(`twice: ${line}`);
  if (metric.type === "counter" && !(sample.value >= 0)) throw new Error(`below 0: ${line}`);
  metric.samples.push(sample);
}

function keyOf({ name, labels }: Sample): string {
  return JSON.stringify([name, Object.entries(labels).sort()]);
}

function parseLabels(text: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < text.length) {
    const [, name = "", value = ""] = LABEL.exec(text) ?? [];
    if (name === "" || name in labels) throw new Error(`bad labels: ${line}`);
    labels[name] = value.replaceAll(/\\(.)/g, (_, one: string) => (one === "n" ? "\n" : one));
  }
  return labels;
}

function numberOf(text: string, line: string): number {
  if (text === "+Inf") return Number.POSITIVE_INFINITY;
  if (text === "-Inf") return Number.NEGATIVE_INFINITY;
  if (text.toLowerCase() === "nan") return Number.NaN;
  if (!/^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/.test(text)) throw new Error(`no number: ${line}`);
  return Number(text);
}

/** Buckets grow, the last one is `+Inf`, and it is the count. */
function checkHistogram({ type, name, samples }: Exposed): void {
  if (type !== "histogram") return;
  const groups = new Map<string, Sample[]>();
  for (const sample of samples) {
    const { le: _le, ...labels } = sample.labels;
    const key = JSON.stringify(Object.entries(labels).sort());
    groups.set(key, [...(groups.get(key) ?? []), sample]);
  }
  for (const group of groups.values()) {
    const buckets = group.filter((sample) => sample.name === `${name}_bucket`);
    const values = buckets.map(({ value }) => value);
    const bounds = buckets.map(({ labels }) => Number(labels["le"]?.replace("+Inf", "Infinity")));
    const count = group.find((sample) => sample.name === `${name}_count`)?.value;
    const grows = (list: number[]): boolean =>
      list.every((one, at) => at === 0 || one >= (list[at - 1] ?? 0));
    const sum = group.some((sample) => sample.name === `${name}_sum`);
    if (
      !sum ||
      !grows(values) ||
      !grows(bounds) ||
      bounds.at(-1) !== Infinity ||
      values.at(-1) !== count
    ) {
      throw new Error(`${name} is no histogram`);
    }
  }
}
