/** `npm run faults`: a storm, its report, and status 1 when something that must hold did not. */
import { locateNatsServer } from "@swarm-mesh/server";
import { Command, InvalidArgumentError, Option } from "commander";
import { SEED_MAX } from "./random.ts";
import { reportJson, reportText } from "./report.ts";
import { FAULTS, type Fault } from "./schedule.ts";
import { isBad, removeStorm, runStorm } from "./storm.ts";

interface Flags {
  readonly minutes: number;
  readonly seed: number;
  readonly nodes: number;
  readonly slots: number;
  readonly replicas: number;
  readonly rate: number;
  readonly only?: readonly Fault[];
  readonly keep?: boolean;
}

const say = (line: string): void => void process.stderr.write(`${line}\n`);

function program(): Command {
  return new Command("faults")
    .description("Runs a mesh under load, injects faults from a seed, and judges what was seen.")
    .option("--minutes <n>", "how long faults are injected", numberFrom(0.1, 24 * 60), 10)
    .addOption(
      new Option("--seed <n>", "what the faults and tasks are drawn from")
        .argParser(wholeFrom(0, SEED_MAX))
        .default(Math.floor(Math.random() * SEED_MAX), "a new one, printed"),
    )
    .option("--nodes <n>", "nodes", wholeFrom(2, 50), 4)
    .option("--slots <n>", "tasks at once, a node", wholeFrom(1, 100), 8)
    .option("--replicas <n>", "processes of each service", wholeFrom(1, 5), 2)
    .option("--rate <n>", "tasks a second", numberFrom(1, 10_000), 60)
    .option("--only <faults>", `draw from these alone: ${FAULTS.join(", ")}`, faultsOf)
    .option("--keep", "keep the history and the logs even when nothing was violated");
}

function wholeFrom(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}`);
  };
}

function numberFrom(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`expected a number from ${least} to ${most}`);
  };
}

function faultsOf(text: string): readonly Fault[] {
  return text.split(",").map((word) => {
    const fault = FAULTS.find((each) => each === word.trim());
    if (fault !== undefined) return fault;
    throw new InvalidArgumentError(`${word} is none of ${FAULTS.join(", ")}`);
  });
}

async function main(): Promise<number> {
  const flags = program().parse().opts<Flags>();
  const server = await locateNatsServer({ report: say });
  process.env["NATS_SERVER"] = server.path;
  const stop = new AbortController();
  const onSignal = (): void => {
    // The second one ends it at once; what it started goes with it.
    if (stop.signal.aborted) process.exit(1);
    say("told to stop: healing, settling and judging what there is");
    stop.abort();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  const { minutes, ...options } = flags;
  say(`seed ${flags.seed}`);
  const result = await runStorm({
    ...options,
    durationMs: minutes * 60_000,
    keep: flags.keep === true,
    say,
    signal: stop.signal,
  });
  process.stdout.write(await reportText(result));
  process.stdout.write(`${reportJson(result)}\n`);
  if (!result.kept) await removeStorm(result.dir);
  return isBad(result) ? 1 : 0;
}

process.exit(await main());
