/** What a storm is told as: tables for people, one line of JSON for programs. */
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import type { Violation } from "@swarm-mesh/checker";
import { encode } from "@swarm-mesh/protocol";
import Table from "cli-table3";
import pc from "picocolors";
import { SERVER } from "./fault-mesh.ts";
import { isNode, type Recovery } from "./recovery.ts";
import { quantile } from "./stats.ts";
import { isBad, type StormResult } from "./storm.ts";

/** One kind of fault on one kind of target. */
interface FaultRow {
  readonly fault: string;
  /** `node`, `leader`, `server` or `service`; `all` of these. */
  readonly on: string;
  readonly struck: number;
  /** Figures of recovery: see recovery.ts. */
  readonly figures: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  readonly maxMs: number | null;
  /** From the healing; what recovered before it counts as 0. */
  readonly healedP99Ms: number | null;
  /** Work that had not recovered when the run was over. */
  readonly open: number;
}

const VIOLATIONS_SHOWN = 25;
const EVIDENCE_MAX_CHARS = 400;

/** Sums up faults by what they were and what they struck; then all of one kind, when it struck several. */
function faultRows(recoveries: readonly Recovery[]): readonly FaultRow[] {
  return groupsOf(recoveries, ({ strike }) => strike.fault).flatMap(([fault, all]) => {
    const rows = groupsOf(all, kindOf).map(([on, some]) => rowOf({ fault, on }, some));
    return rows.length > 1 ? [...rows, rowOf({ fault, on: "all" }, all)] : rows;
  });
}

/** In the order of the groups' names. */
function groupsOf(
  recoveries: readonly Recovery[],
  nameOf: (one: Recovery) => string,
): readonly (readonly [string, readonly Recovery[]])[] {
  const names = [...new Set(recoveries.map(nameOf))].sort();
  return names.map((name) => [name, recoveries.filter((one) => nameOf(one) === name)]);
}

function rowOf(of: Pick<FaultRow, "fault" | "on">, all: readonly Recovery[]): FaultRow {
  const figures = all.flatMap((one) => one.figures);
  const healed = all.flatMap((one) =>
    one.figures.map((figure) => Math.max(0, figure - (one.lengthMs ?? 0))),
  );
  return {
    ...of,
    struck: all.length,
    figures: figures.length,
    p50Ms: whole(quantile(figures, 0.5)),
    p99Ms: whole(quantile(figures, 0.99)),
    maxMs: whole(quantile(figures, 1)),
    healedP99Ms: whole(quantile(healed, 0.99)),
    open: all.reduce((sum, one) => sum + one.open, 0),
  };
}

function kindOf({ strike }: Recovery): string {
  if (strike.target === SERVER) return "server";
  if (strike.led) return "leader";
  return isNode(strike.target) ? "node" : "service";
}

function whole(ms: number): number | null {
  return Number.isNaN(ms) ? null : Math.round(ms);
}

/** The whole report as text. */
export async function reportText(result: StormResult): Promise<string> {
  const parts = [
    faultTable(result),
    taskTable(result),
    troubleText(result),
    await violationText(result),
    pc.bold(isBad(result) ? pc.red("violated") : pc.green("nothing violated")) +
      ` · seed ${result.seed}` +
      (result.kept ? ` · kept in ${result.dir}` : ""),
  ];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

function faultTable({ recoveries, missed, skipped }: StormResult): string {
  const table = new Table({
    style: { head: [], border: [] },
    head: ["fault", "on", "struck", "figures", "p50", "p99", "max", "after healing p99", "open"],
  });
  for (const row of faultRows(recoveries)) {
    table.push([
      ...[row.fault, row.on, row.struck, row.figures].map(String),
      ...[row.p50Ms, row.p99Ms, row.maxMs, row.healedP99Ms].map(shown),
      String(row.open),
    ]);
  }
  const lines = [
    `${recoveries.length} faults; until the work that each disturbed flows again:`,
    table.toString(),
    ...(missed.length === 0 ? [] : [`${missed.length} faults found their target struck already`]),
    ...skipped.map((why) => `left out: ${why}`),
  ];
  return lines.join("\n");
}

function shown(ms: number | null): string {
  if (ms === null) return "–";
  return ms < 1_000 ? `${ms} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

function taskTable(result: StormResult): string {
  const { submitted, acknowledged, finals, unfinished, loadMs, refusals } = result;
  const seconds = loadMs / 1_000;
  const counts = Object.entries(finals).map(([status, count]) => `${count} ${status}`);
  const refused = Object.entries(refusals).map(([why, count]) => `${count} × ${why}`);
  const { verdict } = result;
  return [
    `${submitted} tasks submitted in ${seconds.toFixed(0)} s (${(submitted / seconds).toFixed(1)}/s), ${acknowledged} acknowledged: ${counts.join(", ")}; ${unfinished.length} never became final`,
    ...(unfinished.length === 0 ? [] : [`never final: ${unfinished.slice(0, 20).join(" ")}`]),
    `${verdict.lines} lines judged: ${verdict.records} records, ${verdict.runs} runs of handlers`,
    ...(refused.length === 0 ? [] : [`submits refused, and sent again: ${refused.join("; ")}`]),
  ].join("\n");
}

function troubleText({ troubles, surprises }: StormResult): string {
  const ends = surprises.map(
    ({ name, pid, endedAs, at }) =>
      `  ${new Date(at).toISOString()} ${name} (${pid}) ended by itself: ${endedAs}`,
  );
  const said = troubles.map(({ process, says, times }) => `  ${process}: ${times} × ${says}`);
  return [
    ...(ends.length === 0 ? [] : ["processes that ended by themselves:", ...ends]),
    ...(said.length === 0 ? [] : ["errors in logs:", ...said]),
  ].join("\n");
}

async function violationText({ verdict, history }: StormResult): Promise<string> {
  const { violations } = verdict;
  if (violations.length === 0) return "";
  const some = violations.slice(0, VIOLATIONS_SHOWN);
  const lines = await evidenceOf(some, history);
  const text = some.map(({ rule, task, problem, evidence }) =>
    [
      `${pc.red(rule)}: ${task ?? "the run"}: ${problem}`,
      ...evidence.map(({ line }) => `    ${line}: ${lines.get(line) ?? ""}`),
    ].join("\n"),
  );
  const more = violations.length - some.length;
  return [
    `${violations.length} violations`,
    ...text,
    ...(more > 0 ? [`and ${more} more`] : []),
  ].join("\n");
}

/** The lines of the history that violations point at, by their numbers. */
async function evidenceOf(
  violations: readonly Violation[],
  history: string,
): Promise<ReadonlyMap<number, string>> {
  const wanted = new Set(violations.flatMap(({ evidence }) => evidence.map(({ line }) => line)));
  const found = new Map<number, string>();
  let number = 0;
  for await (const text of createInterface({ input: createReadStream(history) })) {
    number++;
    if (wanted.has(number)) found.set(number, text.slice(0, EVIDENCE_MAX_CHARS));
  }
  return found;
}

/** The report as one line of JSON. */
export function reportJson(result: StormResult): string {
  const { verdict, recoveries, missed, unfinished, troubles, surprises, ...rest } = result;
  return encode({
    ...rest,
    faults: recoveries.length,
    missed: missed.length,
    rows: faultRows(recoveries),
    unfinished: unfinished.length,
    verdict: { ...verdict, violations: verdict.violations.length },
    rules: countBy(verdict.violations.map(({ rule }) => rule)),
    troubles: troubles.map(({ process, says, times }) => ({ process, says, times })),
    surprises,
  });
}

function countBy(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}
