/** `npm run bench`: measures the mesh beside its peers and says which goals it reaches. */
import { systemClock } from "@swarm-mesh/runtime";
import { locateNatsServer } from "@swarm-mesh/server";
import { type Figures, type Judged, judge, machineNote, statusOf } from "./goals.ts";
import { type BenchOptions, parseOptions, type Subject } from "./options.ts";
import { Report } from "./report.ts";
import type { Session } from "./session.ts";
import { durable } from "./subjects/durable.ts";
import { failure } from "./subjects/failure.ts";
import { growth } from "./subjects/growth.ts";
import { latency } from "./subjects/latency.ts";
import { throughput } from "./subjects/throughput.ts";
import { REDIS_ADVICE, type Versions, versions } from "./versions.ts";

type Measure = (session: Session, figures: Figures) => Promise<void>;

const MEASURES: Readonly<Record<Subject, Measure>> = {
  throughput,
  latency,
  durable,
  failure,
  growth,
};

const STATUS_FAILED = 1;
/** As shells report a process that Ctrl-C ended. */
const STATUS_INTERRUPTED = 130;

async function main(options: BenchOptions, signal: AbortSignal): Promise<number> {
  const report = new Report(options.out);
  process.env["NATS_SERVER"] ??= (
    await locateNatsServer({ report: (line) => report.progress(line) })
  ).path;
  const found = await versions();
  tellVersions(report, options, found);
  const peers = found.redisServer === undefined ? ["mesh", "raw"] : ["mesh", "bullmq", "raw"];
  const session = { options, report, signal, peers } as Session;
  const figures: Figures = {};
  const failed: Subject[] = [];
  for (const subject of options.only) {
    const startedAt = systemClock.elapsed();
    try {
      await MEASURES[subject](session, figures);
      const seconds = (systemClock.elapsed() - startedAt) / 1_000;
      report.progress(`${subject} took ${seconds.toFixed(0)} s`);
    } catch (error) {
      signal.throwIfAborted();
      failed.push(subject);
      report.progress(`${subject} failed: ${textOf(error)}`);
    }
  }
  // A quick run has no thousand nodes to say anything about.
  const judged = judge(
    figures,
    options.only.filter((subject) => !(options.quick && subject === "growth")),
  );
  if (judged.length > 0) tellGoals(report, judged, figures);
  if (found.redisServer === undefined) report.progress(REDIS_ADVICE);
  if (failed.length > 0) report.progress(`not measured to the end: ${failed.join(", ")}`);
  return failed.length > 0 ? STATUS_FAILED : statusOf(judged, options.strict);
}

function tellVersions(report: Report, options: BenchOptions, found: Versions): void {
  const { packages, redisServer, ...rest } = found;
  const rows = Object.entries({
    ...rest,
    redisServer: redisServer ?? "none: no BullMQ",
    ...packages,
  });
  report.result(
    { title: "what is measured", head: ["", "version"], rows },
    { subject: "versions", ...found, options },
  );
}

function tellGoals(report: Report, judged: readonly Judged[], figures: Figures): void {
  report.result(
    {
      title: "goals",
      head: ["", "wanted", "figure", "verdict"],
      rows: judged.map(({ name, wanted, figure, verdict }) => [name, wanted, figure, verdict]),
      notes: [
        "Ratios are taken round by round, within the same run; each is the median.",
        ...machineNote(figures),
      ],
    },
    { subject: "goals", judged },
  );
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Ctrl-C stops what is under way, which ends all it started; a second one does not wait for it. */
function untilStopped(): AbortSignal {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      if (stop.signal.aborted) process.exit(STATUS_INTERRUPTED);
      process.stderr.write("stopping\n");
      stop.abort(new Error("stopped"));
    });
  }
  return stop.signal;
}

const signal = untilStopped();
try {
  process.exitCode = await main(parseOptions(process.argv.slice(2)), signal);
} catch (error) {
  if (!signal.aborted) process.stderr.write(`${textOf(error)}\n`);
  process.exitCode = signal.aborted ? STATUS_INTERRUPTED : STATUS_FAILED;
}
// What a stopped subject left waiting must not keep us.
process.exit();
