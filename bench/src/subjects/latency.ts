/** Submit to result, by the clock: at a low rate, and at half of what each peer can do. */
import { Runs } from "../compare.ts";
import type { Figures } from "../goals.ts";
import { inRounds, measure, noise, prepare, type Run, runLine, withPeers } from "../measure.ts";
import type { Peer, PeerName } from "../peers/peer.ts";
import { type Cell, rounded } from "../report.ts";
import type { Session } from "../session.ts";
import { latencyFigures, quantile } from "../stats.ts";

/** What is run of every peer. */
export interface LatencyCase {
  readonly subject: string;
  /** For people. */
  readonly load: string;
  readonly rate: (peer: PeerName) => number;
  /** How long one run offers tasks. */
  readonly seconds: number;
  readonly rounds: number;
}

/** Of a run as fast as it goes, to know half of its speed. */
const PEAK_TASKS = 5_000;

const p50 = ({ latenciesMs }: Run): number => quantile(latenciesMs, 0.5);
const p99 = ({ latenciesMs }: Run): number => quantile(latenciesMs, 0.99);

/** Measures both loads. The goals are judged by the low rate. */
export async function latency(session: Session, figures: Figures): Promise<void> {
  const { quick, rate, rounds } = session.options;
  await withPeers(session, session.peers, "second", async (peers) => {
    for (const peer of peers) await prepare(session, peer, 1);
    const low = await runLatency(session, peers, {
      subject: "latency",
      load: `${rate}/s`,
      rate: () => rate,
      seconds: quick ? 3 : 5,
      rounds,
    });
    figures.p50ToBullmq = low.ratio("mesh", "bullmq", p50);
    figures.p99ToBullmq = low.ratio("mesh", "bullmq", p99);
    const peaks = await peaksOf(session, peers);
    await runLatency(session, peers, {
      subject: "latency",
      load: "half of its peak",
      rate: (peer) => Math.round((peaks.get(peer) ?? 0) / 2),
      seconds: 2,
      rounds: Math.min(rounds, 3),
    });
  });
}

async function peaksOf(session: Session, peers: readonly Peer[]) {
  const { concurrency, payload: payloadBytes } = session.options;
  const order = { kind: "closed", tasks: PEAK_TASKS, concurrency, payloadBytes } as const;
  const peaks = new Map<PeerName, number>();
  for (const peer of peers) peaks.set(peer.name, (await measure(session, peer, order)).perSecond);
  return peaks;
}

/** Runs one load on all peers in turns, and tells what came of it. */
export async function runLatency(
  session: Session,
  peers: readonly Peer[],
  each: LatencyCase,
): Promise<Runs> {
  const { report, options } = session;
  report.progress(`${each.subject}: latency at ${each.load}`);
  const runs = new Runs();
  await inRounds(each.rounds, peers, async (peer, round) => {
    const ratePerSecond = each.rate(peer.name);
    const run = await measure(session, peer, {
      kind: "open",
      tasks: Math.ceil(ratePerSecond * each.seconds),
      ratePerSecond,
      payloadBytes: options.payload,
    });
    runs.add(run);
    const { subject, load } = each;
    report.measured(runLine(run, { subject, load, ratePerSecond, round }));
    const figures = `p50 ${p50(run).toFixed(2)}, p99 ${p99(run).toFixed(2)} ms`;
    report.progress(`  round ${round}: ${peer.name} ${ratePerSecond}/s ${figures}${noise(run)}`);
  });
  tell(session, each, runs);
  return runs;
}

function tell({ options, peers, report }: Session, each: LatencyCase, runs: Runs): void {
  const { subject, load, rounds, seconds } = each;
  report.result(
    {
      title: `${subject}: milliseconds from submit to result, ${load}, ${options.payload} B, ${rounds} × ${seconds} s`,
      head: [
        ...["", "tasks/s", "p50", "p99", "p99.9", "worst"],
        ...["p50 / bullmq", "p99 / bullmq", "p50 / raw", "p99 / raw"],
      ],
      rows: peers.map((peer) => rowOf(each, runs, peer)),
      notes: ["Quantiles of all rounds together; ratios are taken round by round."],
    },
    {
      subject,
      load,
      seconds,
      rounds,
      payloadBytes: options.payload,
      peers: Object.fromEntries(peers.map((peer) => [peer, summaryOf(each, runs, peer)])),
    },
  );
}

function figuresOf(runs: Runs, peer: PeerName) {
  return latencyFigures(runs.of(peer).flatMap(({ latenciesMs }) => latenciesMs));
}

function rowOf(each: LatencyCase, runs: Runs, peer: PeerName): readonly Cell[] {
  const pooled = figuresOf(runs, peer);
  return [
    peer,
    each.rate(peer),
    ...[pooled.p50, pooled.p99, pooled.p999, pooled.max],
    runs.ratio(peer, "bullmq", p50),
    runs.ratio(peer, "bullmq", p99),
    runs.ratio(peer, "raw", p50),
    runs.ratio(peer, "raw", p99),
  ];
}

function summaryOf(each: LatencyCase, runs: Runs, peer: PeerName) {
  const { count, ...pooled } = figuresOf(runs, peer);
  const rounds = Object.entries(pooled).map(([name, ms]) => [name, rounded(ms)] as const);
  return { ratePerSecond: each.rate(peer), count, ...Object.fromEntries(rounds) };
}
