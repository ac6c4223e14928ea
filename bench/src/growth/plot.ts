/** Curves as SVG: three diagrams side by side, over the logarithm of what grows. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { init } from "echarts";
import type { Curve, Point } from "./curve.ts";

const DIRECTORY = join(import.meta.dirname, "..", "..", "..", "docs", "performance");
const SIZE = { width: 1_080, height: 320 };
const COLOURS = ["#2563eb", "#d97706", "#059669", "#7c3aed", "#dc2626"];

interface Line {
  readonly name: string;
  readonly value: (point: Point) => number | undefined;
}

interface Panel {
  readonly title: string;
  readonly lines: readonly Line[];
}

const PANELS: readonly Panel[] = [
  {
    title: "CPU, µs a task",
    lines: [
      { name: "coordinator", value: ({ cpuUs }) => cpuUs.coordinator },
      { name: "nats-server", value: ({ cpuUs }) => cpuUs.server },
      { name: "other services", value: ({ cpuUs }) => cpuUs.other },
    ],
  },
  {
    title: "memory, MiB",
    lines: [
      { name: "coordinator", value: ({ coordinatorMib }) => coordinatorMib },
      { name: "nats-server", value: ({ serverMib }) => serverMib },
      { name: "other services", value: ({ othersMib }) => othersMib },
    ],
  },
  {
    title: "submit to result, ms",
    lines: [
      { name: "p50", value: ({ p50 }) => p50 },
      { name: "p99", value: ({ p99 }) => p99 },
    ],
  },
];

/** Draws the curve into docs/performance; returns the path of the file. */
export function plot(curve: Curve): string {
  const chart = init(null, null, { renderer: "svg", ssr: true, ...SIZE });
  try {
    chart.setOption(optionOf(curve));
    mkdirSync(DIRECTORY, { recursive: true });
    const path = join(DIRECTORY, `${curve.name}.svg`);
    writeFileSync(path, `${chart.renderToSVGString()}\n`);
    return path;
  } finally {
    chart.dispose();
  }
}

function optionOf({ points, xName }: Curve) {
  return {
    animation: false,
    backgroundColor: "#ffffff",
    color: COLOURS,
    legend: { bottom: 0 },
    title: PANELS.map(({ title }, index) => ({
      text: title,
      left: `${index * 33 + 3}%`,
      textStyle: { fontSize: 14, fontWeight: "normal" },
    })),
    grid: PANELS.map((_, index) => ({
      left: `${index * 33 + 5}%`,
      width: "26%",
      top: 40,
      bottom: 80,
    })),
    xAxis: PANELS.map((_, index) => ({
      type: "log",
      gridIndex: index,
      name: xName,
      nameLocation: "middle",
      nameGap: 28,
      axisLabel: { formatter: shortNumber },
    })),
    yAxis: PANELS.map((_, index) => ({ type: "value", gridIndex: index, min: 0 })),
    series: PANELS.flatMap(({ lines }, index) =>
      lines.map(({ name, value }) => ({
        type: "line",
        name,
        xAxisIndex: index,
        yAxisIndex: index,
        symbolSize: 6,
        data: points.map((point) => [point.x, Number((value(point) ?? 0).toPrecision(4))]),
      })),
    ),
  };
}

function shortNumber(value: number): string {
  if (value >= 1e6) return `${value / 1e6} M`;
  return value >= 1e3 ? `${value / 1e3} k` : String(value);
}
