/** How answers put things: names, numbers, times. */
import { isoTime, timeOf } from "@swarm-mesh/runtime";
import { cell, span } from "./text.ts";

const NAMES_MAX = 8;

/** `n1`, `n1 and n2`, `n1, n2 and 7 more`. */
export function names(list: readonly string[]): string {
  const shown = list.length > NAMES_MAX ? list.slice(0, NAMES_MAX - 1) : list;
  const rest = list.length - shown.length;
  const all = rest > 0 ? [...shown, `${rest} more`] : shown;
  if (all.length < 2) return all.join("");
  return `${all.slice(0, -1).join(", ")} and ${all.at(-1)}`;
}

/** The first few lines, and how many more there are. */
export function few(lines: readonly string[]): readonly string[] {
  if (lines.length <= LINES_MAX) return lines;
  const shown = lines.slice(0, LINES_MAX - 1);
  return [...shown, `… and ${lines.length - shown.length} more of these`];
}

const LINES_MAX = 8;

/** `1 task`, `2 tasks`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** The time of day, `12:03:05 UTC`, with the day when it is another one than now's. */
export function clock(ms: number, nowMs: number): string {
  const [day = "", time = ""] = isoTime(ms).split("T");
  const today = isoTime(nowMs).startsWith(day);
  return `${today ? "" : `${day} `}${time.slice(0, 8)} UTC`;
}

/** `since 12:03:05 UTC (40s)`. */
export function since(iso: string, nowMs: number): string {
  const ms = timeOf(iso);
  return `since ${clock(ms, nowMs)} (${span(nowMs - ms)})`;
}

/** `at 12:03:05 UTC (40s ago)`. */
export function at(iso: string, nowMs: number): string {
  return moment(timeOf(iso), nowMs);
}

/** {@link at} of a number. */
export function moment(ms: number, nowMs: number): string {
  return `at ${clock(ms, nowMs)} (${span(nowMs - ms)} ago)`;
}

/** An error as one line: `disk full (disk_full)`. */
export function errorText(error: { readonly code: string; readonly message: string }): string {
  return `${cell(error.message, 200)} (${error.code})`;
}

/** Labels as they are typed: `gpu=a100,zone=eu`. */
export function labelsText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}=${value}`);
  return pairs.length === 0 ? "no labels" : pairs.join(",");
}

/** Since when, by whom and why something is held back: `since 12:03:05 UTC (40s) by ada@box: broken`. */
export function heldBack(
  { at: when, by, reason }: { readonly at: string; readonly by: string; readonly reason: string },
  nowMs: number,
): string {
  const who = by === "" ? "" : ` by ${by}`;
  return `${since(when, nowMs)}${who}${reason === "" ? "" : `: ${cell(reason, 200)}`}`;
}
