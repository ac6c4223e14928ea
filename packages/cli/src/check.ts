/** `swarmctl check`: judges recorded histories. */
import { resolve } from "node:path";
import {
  Checker,
  HistoryError,
  RUN_RULES,
  readHistory,
  TASK_RULES,
  type Verdict,
  type Violation,
} from "@swarm-mesh/checker";
import type { Call } from "./call.ts";
import { CliError, Exit, type ExitStatus } from "./exit.ts";
import type { Io } from "./io.ts";
import { pairs, print, table } from "./output.ts";
import { Progress } from "./progress.ts";
import { outputOf } from "./target.ts";

export interface CheckFlags {
  readonly json?: true;
}

/** Violations shown to people; programs get all. */
const SHOWN_MAX = 50;
/** Lines of evidence shown for one violation. */
const EVIDENCE_MAX = 4;

/** Judges the files as one history and prints the verdict. Resolves with the status to end with. */
export async function checkHistories(call: Call<CheckFlags>): Promise<ExitStatus> {
  const { io, args, flags } = call;
  const format = flags.json ? "json" : outputOf(call.globals);
  const checker = new Checker();
  const progress = new Progress(io, format, "lines read");
  let lines = 0;
  for (const name of args) {
    for await (const { number, line } of open(io, name)) {
      checker.hear(line, number, name);
      progress.tell({ done: ++lines });
    }
  }
  progress.clear();
  const verdict = checker.judge();
  print(io, format, verdict, () => verdictText(verdict));
  return verdict.violations.length === 0 ? Exit.ok : Exit.error;
}

/** The lines of a file, or of standard input; what is no history is told as a usage error. */
async function* open(io: Io, name: string): ReturnType<typeof readHistory> {
  const input = name === "-" ? whole(io) : resolve(io.cwd, name);
  try {
    yield* readHistory(input, name);
  } catch (error) {
    if (error instanceof HistoryError) {
      throw new CliError(Exit.usage, "bad_history", error.message, { cause: error });
    }
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      throw new CliError(Exit.notFound, "not_found", `there is no file ${name}`, { cause: error });
    }
    throw error;
  }
}

async function* whole(io: Io): AsyncGenerator<Uint8Array> {
  yield await io.readStdin();
}

function verdictText(verdict: Verdict): string {
  const { lines, tasks, acknowledged, final, records, runs, faults, violations } = verdict;
  const counts = pairs([
    ["lines", String(lines)],
    ["tasks", `${tasks}, ${acknowledged} acknowledged, ${final} ended`],
    ["records", String(records)],
    ["runs", String(runs)],
    ["faults", String(faults)],
  ]);
  const open = verdict.complete
    ? ""
    : "\nthe history has no end: nothing is concluded from what is unfinished\n";
  const rules = TASK_RULES.length + RUN_RULES.length;
  if (violations.length === 0) return `${counts}${open}\nno violation of ${rules} rules\n`;
  const broken = new Set(violations.map(({ rule }) => rule)).size;
  const summary = `${plural(violations.length, "violation")} of ${plural(broken, "rule")}`;
  return `${counts}${open}\n${violationsText(violations)}\n${summary}\n`;
}

function violationsText(violations: readonly Violation[]): string {
  const rows = violations
    .slice(0, SHOWN_MAX)
    .map(({ rule, task, problem, evidence }) => [
      rule,
      task ?? "-",
      problem,
      evidenceText(evidence),
    ]);
  const more = violations.length - rows.length;
  const rest = more > 0 ? `and ${more} more; --json has all\n` : "";
  return table(["RULE", "TASK", "WHAT", "LINES"], rows) + rest;
}

function evidenceText(evidence: Violation["evidence"]): string {
  const places = evidence.slice(0, EVIDENCE_MAX).map(({ source, line }) => `${source}:${line}`);
  return evidence.length > EVIDENCE_MAX ? `${places.join(" ")} …` : places.join(" ");
}

function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
