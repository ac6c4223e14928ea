/** Where figures go: tables and a JSON line each to stdout, every line to a file, progress to stderr. */
import { appendFileSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { isoTime, systemClock } from "@swarm-mesh/runtime";
import Table from "cli-table3";
import pc from "picocolors";

/** A cell: text as it is, a number with a fitting number of digits, nothing as a dash. */
export type Cell = string | number | undefined;

export interface TableContent {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
  /** Printed below: what to know when reading it. */
  readonly notes?: readonly string[];
}

export type JsonLine = Readonly<Record<string, unknown>>;

export class Report {
  readonly #out: string | undefined;
  readonly #startedAt = systemClock.elapsed();

  constructor(out: string | undefined) {
    this.#out = out;
    if (out !== undefined) mkdirSync(dirname(out), { recursive: true });
  }

  progress(text: string): void {
    const seconds = ((systemClock.elapsed() - this.#startedAt) / 1_000).toFixed(0).padStart(4);
    process.stderr.write(`${pc.dim(`${seconds} s`)}  ${text}\n`);
  }

  /** A single measurement: to the file alone. */
  measured(line: JsonLine): void {
    if (this.#out === undefined) return;
    const stamped = { at: isoTime(systemClock.now()), ...line };
    appendFileSync(this.#out, `${JSON.stringify(stamped)}\n`);
  }

  /** A table, and what it says as one JSON line. */
  result(content: TableContent, line: JsonLine): void {
    process.stdout.write(`\n${pc.bold(content.title)}\n${renderTable(content)}\n`);
    for (const note of content.notes ?? []) process.stdout.write(`${pc.dim(note)}\n`);
    process.stdout.write(`${JSON.stringify(line)}\n`);
    this.measured(line);
  }
}

function renderTable({ head, rows }: TableContent): string {
  const table = new Table({
    head: [...head],
    style: { head: [], border: [], compact: true },
    colAligns: head.map((_, index) => (index === 0 ? "left" : "right")),
  });
  table.push(...rows.map((row) => row.map((cell) => showCell(cell))));
  return table.toString();
}

function showCell(cell: Cell): string {
  if (typeof cell === "string") return cell;
  if (cell === undefined || Number.isNaN(cell)) return "–";
  const digits = Math.abs(cell) >= 100 ? 0 : Math.abs(cell) >= 10 ? 1 : 2;
  return cell.toLocaleString("en", { maximumFractionDigits: digits, useGrouping: true });
}

/** A figure for a JSON line: four significant digits are more than any of them deserves. */
export function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
