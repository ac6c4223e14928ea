/** A line over the last ten minutes. */
import { useEffect, useRef } from "preact/hooks";
import UPlot from "uplot";
import { theme } from "./theme.ts";

export interface Series {
  readonly label: string;
  /** Name of a colour in style.css, without the dashes. */
  readonly colour: string;
  readonly values: readonly (number | null)[];
  readonly filled?: boolean;
  /** Draws each value, also one between two gaps. */
  readonly dotted?: boolean;
}

export function Chart(props: {
  /** Seconds since the epoch. */
  readonly times: readonly number[];
  readonly series: readonly Series[];
  readonly unit: (value: number) => string;
  /** What it shows, for those who cannot see it. */
  readonly label: string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot | undefined>(undefined);
  const colours = theme.value;
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    plot.current = new UPlot(optionsOf(element, props.series, props.unit), [[]], element);
    const sized = new ResizeObserver(() =>
      plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }),
    );
    sized.observe(element);
    return () => {
      sized.disconnect();
      plot.current?.destroy();
    };
  }, [colours]);
  useEffect(() => {
    plot.current?.setData([[...props.times], ...props.series.map(({ values }) => [...values])]);
  }, [props.times, colours]);
  return <div class="chart" ref={box} role="img" aria-label={props.label} />;
}

const HEIGHT = 150;
/** A line of a few seconds would look like more than it is. */
const SPAN_LEAST_S = 120;

function optionsOf(
  element: HTMLElement,
  series: readonly Series[],
  unit: (value: number) => string,
): UPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  const font = `11px ${style.fontFamily}`;
  const axis = { stroke: colour("muted"), font, ticks: { show: false } };
  return {
    width: Math.max(100, element.clientWidth),
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 4, 0, 0],
    scales: {
      x: { range: (_plot, min, max) => [Math.min(min ?? 0, (max ?? 0) - SPAN_LEAST_S), max ?? 0] },
      y: { range: (_plot, _min, max) => [0, Math.max(4, (max ?? 0) * 1.1)] },
    },
    axes: [
      {
        ...{ ...axis, grid: { show: false }, size: 26, space: 80 },
        values: (_plot, at) => at.map(timeLabel),
      },
      {
        ...axis,
        size: 52,
        space: 32,
        grid: { stroke: colour("line"), width: 1 },
        values: (_plot, values) => values.map(unit),
      },
    ],
    series: [
      {},
      ...series.map((one) => ({
        label: one.label,
        stroke: colour(one.colour),
        width: 1.5,
        points:
          one.dotted === true ? { show: true, size: 3, fill: colour(one.colour) } : { show: false },
        spanGaps: false,
        ...(one.filled === true ? { fill: `${colour(one.colour)}22` } : {}),
      })),
    ],
  };
}

function timeLabel(seconds: number): string {
  return LABEL.format(seconds * 1_000);
}

const LABEL = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
