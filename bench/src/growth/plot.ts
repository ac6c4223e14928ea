/** Curves as SVG: four diagrams, over the logarithm of what grows. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { init } from "echarts";
import type { Curve, Point } from "./curve.ts";

const DIRECTORY = join(import.meta.dirname, "..", "..", "..", "docs", "performance");
const SIZE = { width: 1_000, height: 640 };
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
    title: "CPU while nothing is submitted, % of a core",
    lines: [
      { name: "coordinator", value: ({ restPercent }) => restPercent.coordinator },
      { name: "nats-server", value: ({ restPercent }) => restPercent.server },
      { name: "other services", value: ({ restPercent }) => restPercent.other },
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
      ...placeOf(index, { x: 3, y: 0 }),
      textStyle: { fontSize: 14, fontWeight: "normal" },
    })),
    grid: PANELS.map((_, index) => ({
      ...placeOf(index, { x: 5, y: 6 }),
      width: "41%",
      height: "30%",
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

/** Two diagrams a row; `x` and `y` are percent, from the corner of each. */
function placeOf(index: number, { x, y }: { readonly x: number; readonly y: number }) {
  return { left: `${(index % 2) * 50 + x}%`, top: `${Math.floor(index / 2) * 47 + y + 1}%` };
}

function shortNumber(value: number): string {
  if (value >= 1e6) return `${value / 1e6} M`;
  return value >= 1e3 ? `${value / 1e3} k` : String(value);
}
