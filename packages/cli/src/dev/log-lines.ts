/** Log lines of many processes, made readable side by side. */
import { looseValue } from "@swarm-mesh/protocol";
import type { Colour, Paint } from "../output.ts";

const PREFIX_COLOURS = ["cyan", "green", "yellow", "bold"] as const;
/** Fields that say what the prefix says already, or that only a machine wants. */
const SILENT_FIELDS = new Set(["time", "level", "msg", "service", "instance", "pid", "config"]);
const VALUE_MAX_CHARS = 160;

/** Where the lines of all processes go. */
export interface LinePrinter {
  /** Prints one line of the process `name`. */
  print(name: string, line: string): void;
}

/** Prints each line behind the name of its process: pino's JSON shortened, unless it is wanted raw. */
export function linePrinter(options: {
  readonly names: readonly string[];
  readonly paint: Paint;
  readonly raw: boolean;
  readonly out: (text: string) => void;
}): LinePrinter {
  const { names, paint, raw, out } = options;
  const width = Math.max(...names.map((name) => name.length));
  const kinds = [...new Set(names.map(kindOf))];
  const prefix = (name: string): string => {
    const colour = PREFIX_COLOURS[kinds.indexOf(kindOf(name)) % PREFIX_COLOURS.length] ?? "cyan";
    return paint(colour, name.padEnd(width));
  };
  return {
    print: (name, line) => {
      out(raw ? `${line}\n` : `${prefix(name)} ${shorten(line, paint)}\n`);
    },
  };
}

/** `coordinator-1` and `coordinator-2` have one colour, and so have the nodes. */
function kindOf(name: string): string {
  return name.replace(/-?\d+$/, "");
}

/** A line of pino's JSON as time, level, message and fields; any other line as it is. */
export function shorten(line: string, paint: Paint): string {
  const entry = entryOf(line);
  if (entry === undefined) return line;
  const fields = Object.entries(entry)
    .filter(([name]) => !SILENT_FIELDS.has(name))
    .map(([name, value]) => ` ${paint("dim", `${name}=`)}${valueText(value)}`);
  const time = String(entry["time"] ?? "").slice(11, 23);
  const level = String(entry["level"] ?? "");
  const colour = LEVEL_COLOURS[level];
  const shown = level.padEnd(5);
  const coloured = colour === undefined ? shown : paint(colour, shown);
  return `${paint("dim", time)} ${coloured} ${String(entry["msg"])}${fields.join("")}`;
}

const LEVEL_COLOURS: Readonly<Record<string, Colour>> = {
  debug: "dim",
  warn: "yellow",
  error: "red",
};

function entryOf(line: string): Readonly<Record<string, unknown>> | undefined {
  if (!line.startsWith("{")) return undefined;
  const value = looseValue(Buffer.from(line));
  if (typeof value !== "object" || value === null || !("msg" in value)) return undefined;
  return Object.fromEntries(Object.entries(value));
}

function valueText(value: unknown): string {
  const text = typeof value === "string" ? value : errorText(value);
  return text.length > VALUE_MAX_CHARS ? `${text.slice(0, VALUE_MAX_CHARS - 1)}…` : text;
}

/** Of an error only what went wrong: its stack is in the raw line. */
function errorText(value: unknown): string {
  if (typeof value === "object" && value !== null && "stack" in value && "message" in value) {
    return JSON.stringify(value.message);
  }
  return JSON.stringify(value);
}
