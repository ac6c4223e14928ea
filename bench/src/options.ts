/** What a run of the bench is asked to measure. */
import { Command, InvalidArgumentError, Option } from "commander";

export const SUBJECTS = ["throughput", "latency", "durable", "failure", "growth"] as const;
export type Subject = (typeof SUBJECTS)[number];

export interface BenchOptions {
  readonly only: readonly Subject[];
  /** Times that every peer has its turn. */
  readonly rounds: number;
  /** Tasks of one throughput run. */
  readonly tasks: number;
  /** Bytes of a task's body. */
  readonly payload: number;
  /** Submits that wait for their result at once, and slots of all nodes together. */
  readonly concurrency: number;
  /** Submits a second of the open loop. */
  readonly rate: number;
  readonly quick: boolean;
  /** A file that every JSON line is appended to. */
  readonly out: string | undefined;
  /** Write the curves into docs/performance. */
  readonly plot: boolean;
  /** A goal that is missed makes the exit status 1. */
  readonly strict: boolean;
}

/** What a quick run has less of. */
const QUICK = { rounds: 3, tasks: 5_000 };

const HELP = `
Subjects: ${SUBJECTS.join(", ")}; all of them without --only, in less than ten minutes.
Tables go to stdout, with one JSON line each; progress goes to stderr.
BullMQ needs redis-server on PATH; without it its columns are left out and the status is 2.

Examples:
  npm run bench -- --only throughput --quick
  npm run bench -- --only latency --rate 200 --rounds 5
  npm run bench -- --out bench/results/today.jsonl --plot`;

/** Reads the command line. Prints and exits by itself on `--help` and on what it cannot read. */
export function parseOptions(argv: readonly string[]): BenchOptions {
  const command = new Command("bench")
    .description("Measures the mesh beside BullMQ and bare JetStream, in turns, on this machine.")
    .addOption(new Option("--only <subjects>", "subjects, with commas").argParser(subjectsOf))
    .addOption(number("--rounds <count>", "turns of every peer", { default: 5 }))
    .addOption(number("--tasks <count>", "tasks of one throughput run", { default: 10_000 }))
    .addOption(number("--payload <bytes>", "size of a task's body", { default: 256, min: 16 }))
    .addOption(number("--concurrency <count>", "tasks in flight, and slots", { default: 64 }))
    .addOption(number("--rate <per second>", "submits by the clock", { default: 50 }))
    .option("--quick", `${QUICK.rounds} rounds of ${QUICK.tasks} tasks, and fewer cases`)
    .option("--out <file>", "append every JSON line to this file, single rounds too")
    .option("--plot", "draw the curves of growth into docs/performance")
    .option("--strict", "status 1 when a goal is missed")
    .addHelpText("after", HELP)
    .parse([...argv], { from: "user" });
  const given = command.opts();
  const quick = given["quick"] === true;
  const reduced = (name: keyof typeof QUICK): number =>
    quick && command.getOptionValueSource(name) === "default" ? QUICK[name] : given[name];
  return {
    only: given["only"] ?? SUBJECTS,
    rounds: reduced("rounds"),
    tasks: reduced("tasks"),
    payload: given["payload"],
    concurrency: given["concurrency"],
    rate: given["rate"],
    quick,
    out: given["out"],
    plot: given["plot"] === true,
    strict: given["strict"] === true,
  };
}

function number(
  flags: string,
  description: string,
  { default: value, min = 1 }: { readonly default: number; readonly min?: number },
): Option {
  return new Option(flags, description).default(value).argParser((text) => {
    const parsed = Number(text);
    if (Number.isInteger(parsed) && parsed >= min) return parsed;
    throw new InvalidArgumentError(`a whole number from ${min} on`);
  });
}

function subjectsOf(text: string): readonly Subject[] {
  const wanted = text.split(",").map((name) => name.trim());
  const strange = wanted.find((name) => !SUBJECTS.some((subject) => subject === name));
  if (strange !== undefined) {
    throw new InvalidArgumentError(`no subject ${strange}; there are ${SUBJECTS.join(", ")}`);
  }
  return SUBJECTS.filter((subject) => wanted.includes(subject));
}
