/** Numbers and times as people read them. */
import { timeOf } from "@swarm-mesh/runtime";

/** `4s`, `12m`, `3h`: the largest unit that fits. */
export function span(ms: number): string {
  if (!Number.isFinite(ms)) return "–";
  for (const [unit, size] of UNITS) if (ms >= size) return `${Math.floor(ms / size)} ${unit}`;
  return `${Math.max(0, Math.round(ms))} ms`;
}

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1_000],
] as const;

/** Time since an ISO time, by the browser's wall clock. */
export function ago(iso: string, wallMs: number): string {
  const ms = wallMs - timeOf(iso);
  return ms < 1_000 ? "just now" : `${span(ms)} ago`;
}

/** `12:03:05`, here; with the day when it is another. */
export function clock(iso: string, wallMs: number): string {
  const at = timeOf(iso);
  if (!Number.isFinite(at)) return "–";
  const today = DAY.format(at) === DAY.format(wallMs);
  return today ? TIME.format(at) : `${DAY.format(at)} ${TIME.format(at)}`;
}

const TIME = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** `7,012`, `1.2 M`. */
export function number(value: number): string {
  return value >= 1_000_000 ? `${(value / 1_000_000).toFixed(1)} M` : GROUPED.format(value);
}

/** A rate: with a decimal while it is small. */
export function rate(value: number): string {
  return value > 0 && value < 10 ? value.toFixed(1) : number(Math.round(value));
}

const GROUPED = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });

/** A duration as it was measured: `0.4 ms`, `22 ms`, `1.80 s`. */
export function duration(ms: number | undefined): string {
  if (ms === undefined || !Number.isFinite(ms)) return "–";
  if (ms < 1_000) return `${ms < 10 && ms % 1 !== 0 ? ms.toFixed(1) : Math.round(ms)} ms`;
  return ms < 60_000 ? `${(ms / 1_000).toFixed(2)} s` : span(ms);
}

export function bytes(count: number): string {
  if (count < 1_024) return `${count} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  const unit = Math.min(units.length, Math.floor(Math.log(count) / Math.log(1_024)));
  return `${(count / 1_024 ** unit).toFixed(1)} ${units[unit - 1]}`;
}

/** `1 task`, `2 tasks`. */
export function count(value: number, noun: string): string {
  return `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** A JSON value for reading. */
export function pretty(value: unknown): string {
  return value === undefined ? "" : JSON.stringify(value, null, 2);
}
