/** What commands print: tables for people, JSON for programs. */
import { encode } from "@swarm-mesh/protocol";
import Table from "cli-table3";
import picocolors from "picocolors";
import type { Io } from "./io.ts";

export { cell, span } from "@swarm-mesh/why";

/** `jsonl`: a line for each thing; where there is only one, one line. */
export type Format = "table" | "json" | "jsonl";
/** The colours that are used, by their names. */
export type Colour = "green" | "yellow" | "red" | "cyan" | "dim" | "bold";

/** Colours text, or leaves it as it is. */
export type Paint = (colour: Colour, text: string) => string;

/** Colours text when `colour` says that somebody sees it. */
export function painter(colour: boolean): Paint {
  const colours = picocolors.createColors(colour);
  return (name, text) => colours[name](text);
}

/** A table without borders: columns two spaces apart, as other commands of its kind print. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const grid = new Table({
    head: [...head],
    style: { head: [], border: [], "padding-left": 0, "padding-right": 2, compact: true },
    chars: BORDERLESS,
  });
  grid.push(...rows.map((row) => [...row]));
  const lines = grid.toString().split("\n");
  return `${lines.map((line) => line.trimEnd()).join("\n")}\n`;
}

const BORDERLESS = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "",
};

/** Names and values, one pair a line. */
export function pairs(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join("");
}

/** One JSON document, for `-o json`. */
export function document(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** One line of JSON, for a stream of them. */
export function line(value: unknown): string {
  return `${encode(value)}\n`;
}

/** Prints `value` as JSON, or what `render` makes of it. */
export function print(
  io: Pick<Io, "out">,
  format: Format,
  value: unknown,
  render: () => string,
): void {
  io.out(format === "table" ? render() : format === "json" ? document(value) : line(value));
}

/** Bytes as people read them. */
export function bytes(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let unit = 0;
  while (value >= 1_024 && unit < units.length - 1) {
    value /= 1_024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? ""}`;
}
