/** Submit to result as fast as it goes: tasks a second, and where the CPU time of a task is spent. */
import { Runs } from "../compare.ts";
import type { Figures } from "../goals.ts";
import { inRounds, measure, noise, prepare, type Run, runLine, withPeers } from "../measure.ts";
import type { Peer, PeerName } from "../peers/peer.ts";
import { type Cell, rounded } from "../report.ts";
import type { Session } from "../session.ts";
import { quantile } from "../stats.ts";

/** What is run of every peer. */
export interface ThroughputCase {
  readonly subject: string;
  readonly payloadBytes: number;
  readonly nodes: number;
  readonly tasks: number;
  readonly rounds: number;
}

const LARGE_PAYLOAD_BYTES = 16 * 1_024;
const NODES = 4;
/** The cases beside the first one are for comparison: less of them will do. */
const SIDE_ROUNDS_MAX = 3;
const CPU_COLUMNS = ["client", "coordinator", "node", "server", "other"] as const;

const perSecond = (run: Run): number => run.perSecond;

/** Measures every case. The goals are judged by the first one. */
export async function throughput(session: Session, figures: Figures): Promise<void> {
  await withPeers(session, session.peers, "second", async (peers) => {
    for (const [index, each] of casesOf(session).entries()) {
      const runs = await runThroughput(session, peers, each);
      if (index > 0) continue;
      figures.throughputToBullmq = runs.ratio("mesh", "bullmq", perSecond);
      figures.throughputToRaw = runs.ratio("mesh", "raw", perSecond);
      figures.rawCpuUs = runs.median("raw", ({ cpuTotalUs }) => cpuTotalUs);
      figures.coordinatorCpuUs = runs.median("mesh", ({ cpuUs }) => cpuUs.coordinator);
    }
  });
}

function casesOf({ options }: Session): readonly ThroughputCase[] {
  const { payload, quick, rounds, tasks } = options;
  const small = { subject: "throughput", payloadBytes: payload, tasks };
  const first: ThroughputCase = { ...small, nodes: 1, rounds };
  if (quick) return [first];
  const side = { rounds: Math.min(rounds, SIDE_ROUNDS_MAX) };
  const large = {
    ...small,
    ...side,
    payloadBytes: LARGE_PAYLOAD_BYTES,
    tasks: Math.ceil(tasks / 4),
  };
  return [
    first,
    { ...small, ...side, nodes: NODES },
    { ...large, nodes: 1 },
    { ...large, nodes: NODES },
  ];
}

/** Runs one case of all peers in turns, and tells what came of it. */
export async function runThroughput(
  session: Session,
  peers: readonly Peer[],
  each: ThroughputCase,
): Promise<Runs> {
  const { report, options } = session;
  report.progress(`${each.subject}: ${titleOf(each)}`);
  for (const peer of peers) await prepare(session, peer, each.nodes);
  const runs = new Runs();
  await inRounds(each.rounds, peers, async (peer, round) => {
    const { tasks, payloadBytes } = each;
    const { concurrency } = options;
    const order = { kind: "closed", tasks, concurrency, payloadBytes } as const;
    const run = await measure(session, peer, order);
    runs.add(run);
    report.measured(runLine(run, { ...each, round }));
    const speed = Math.round(run.perSecond);
    report.progress(`  round ${round}: ${peer.name} ${speed}/s${noise(run)}`);
  });
  tell(session, each, runs);
  return runs;
}

function titleOf({ payloadBytes, nodes }: ThroughputCase): string {
  return `${payloadBytes} B, ${nodes === 1 ? "1 node" : `${nodes} nodes`}`;
}

function tell({ options, peers, report }: Session, each: ThroughputCase, runs: Runs): void {
  const { concurrency } = options;
  const load = `${each.tasks} tasks, ${concurrency} in flight, ${each.rounds} rounds`;
  report.result(
    {
      title: `${each.subject}: ${titleOf(each)}, ${load}`,
      head: ["", "tasks/s", "range", "/ bullmq", "/ raw", "CPU µs", ...CPU_COLUMNS],
      rows: peers.map((peer) => rowOf(runs, peer)),
      notes: [
        "CPU: microseconds a task, of all processes and of each kind. server: nats-server or Redis.",
        "other: registry, health-monitor, migrator. Every task is stored as succeeded.",
      ],
    },
    {
      ...each,
      concurrency,
      peers: Object.fromEntries(peers.map((peer) => [peer, summaryOf(runs, peer)])),
    },
  );
}

function rowOf(runs: Runs, peer: PeerName): readonly Cell[] {
  const speeds = runs.values(peer, perSecond);
  return [
    peer,
    Math.round(runs.median(peer, perSecond) ?? 0),
    `${Math.round(quantile(speeds, 0))} – ${Math.round(quantile(speeds, 1))}`,
    runs.ratio(peer, "bullmq", perSecond),
    runs.ratio(peer, "raw", perSecond),
    runs.median(peer, ({ cpuTotalUs }) => cpuTotalUs),
    ...CPU_COLUMNS.map((role) => runs.median(peer, ({ cpuUs }) => cpuUs[role])),
  ];
}

function summaryOf(runs: Runs, peer: PeerName) {
  return {
    perSecond: Math.round(runs.median(peer, perSecond) ?? 0),
    cpuTotalUs: rounded(runs.median(peer, ({ cpuTotalUs }) => cpuTotalUs) ?? 0),
    cpuUs: Object.fromEntries(
      CPU_COLUMNS.flatMap((role) => {
        const us = runs.median(peer, ({ cpuUs }) => cpuUs[role]);
        return us === undefined ? [] : [[role, rounded(us)] as const];
      }),
    ),
  };
}
