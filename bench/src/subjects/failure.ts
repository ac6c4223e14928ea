/** What a failure costs: the time until everything that was held runs elsewhere. */
import { bullmqTrial, TUNED } from "../failures/bullmq-trials.ts";
import { MeshTrials } from "../failures/mesh-trials.ts";
import { rounded } from "../report.ts";
import type { Session } from "../session.ts";
import { median, quantile } from "../stats.ts";

/** Tasks that the failing process holds. */
const HELD = 20;

/** Trials of each kind. */
interface Plan {
  readonly kills: number;
  readonly freezes: number;
  readonly leaders: number;
  readonly drains: number;
  readonly bullmqTuned: number;
  /** Up to a minute each, side by side with everything else. */
  readonly bullmqDefault: number;
}

const PLAN: Plan = {
  kills: 7,
  freezes: 3,
  leaders: 5,
  drains: 5,
  bullmqTuned: 3,
  bullmqDefault: 3,
};
const QUICK: Plan = {
  kills: 3,
  freezes: 1,
  leaders: 2,
  drains: 2,
  bullmqTuned: 1,
  bullmqDefault: 0,
};

/** How often a worker of BullMQ looks for stalled jobs, unless it is told. */
const STALLED_INTERVAL_DEFAULT_MS = 30_000;

/** One row: what failed, of whom, and how long it took each time, in milliseconds. */
interface Outcome {
  readonly what: string;
  readonly peer: string;
  readonly tookMs: readonly number[];
}

export async function failure(session: Session): Promise<void> {
  const plan = session.options.quick ? QUICK : PLAN;
  const failed = new AbortController();
  const either = { ...session, signal: AbortSignal.any([session.signal, failed.signal]) };
  // It waits for timers of half a minute and does next to nothing: nobody is disturbed.
  const slow = defaultBullmq(either, plan);
  slow.catch(() => undefined); // Thrown below.
  try {
    const outcomes = [...(await meshOutcomes(either, plan)), ...(await tunedBullmq(either, plan))];
    tell(session, [...outcomes, ...(await slow)]);
  } finally {
    failed.abort();
    await slow.catch(() => undefined);
  }
}

async function meshOutcomes(session: Session, plan: Plan): Promise<readonly Outcome[]> {
  const { options, report, signal } = session;
  const victims = plan.kills + plan.freezes + plan.drains;
  report.progress("failure: starting mesh");
  const trials = await MeshTrials.start({ signal, slots: options.concurrency, victims });
  const outcome = async (what: string, count: number, trial: () => Promise<number>) => ({
    what,
    peer: "mesh, default",
    tookMs: await repeat(session, `mesh, ${what}`, count, trial),
  });
  try {
    return [
      await outcome("node, kill -9", plan.kills, () => trials.node("kill", HELD)),
      await outcome("node, frozen", plan.freezes, () => trials.node("freeze", HELD)),
      await outcome("node, drained", plan.drains, () => trials.node("drain", HELD)),
      await outcome("leader, kill -9", plan.leaders, () => trials.coordinator()),
    ];
  } finally {
    await trials.stop();
  }
}

async function tunedBullmq(session: Session, plan: Plan): Promise<readonly Outcome[]> {
  if (!session.peers.includes("bullmq")) return [];
  const { signal } = session;
  const outcomes: Outcome[] = [];
  for (const end of ["kill", "freeze"] as const) {
    const what = end === "kill" ? "node, kill -9" : "node, frozen";
    const count = plan.bullmqTuned;
    const tookMs = await repeat(session, `BullMQ tuned, ${what}`, count, (trial) => {
      const afterMs = (TUNED.stalledInterval * trial) / count;
      return bullmqTrial({ end, tasks: HELD, stall: TUNED, afterMs, signal });
    });
    outcomes.push({ what, peer: "BullMQ, tuned", tookMs });
  }
  return outcomes;
}

async function defaultBullmq(session: Session, plan: Plan): Promise<readonly Outcome[]> {
  if (!session.peers.includes("bullmq") || plan.bullmqDefault === 0) return [];
  const { signal } = session;
  const tookMs = await Promise.all(
    Array.from({ length: plan.bullmqDefault }, (_, trial) => {
      const afterMs = (STALLED_INTERVAL_DEFAULT_MS * trial) / plan.bullmqDefault;
      return bullmqTrial({ end: "kill", tasks: HELD, stall: {}, afterMs, signal });
    }),
  );
  return [{ what: "node, kill -9", peer: "BullMQ, default", tookMs }];
}

async function repeat(
  { report }: Session,
  what: string,
  count: number,
  run: (trial: number) => Promise<number>,
): Promise<readonly number[]> {
  const tookMs: number[] = [];
  while (tookMs.length < count) tookMs.push(await run(tookMs.length));
  report.progress(`  ${what}: ${tookMs.map((ms) => Math.round(ms)).join(", ")} ms`);
  return tookMs;
}

function tell({ report }: Session, outcomes: readonly Outcome[]): void {
  report.result(
    {
      title: `failure: milliseconds until all ${HELD} held tasks run elsewhere`,
      head: ["what fails", "who", "median", "best", "worst", "trials"],
      rows: outcomes.map(({ what, peer, tookMs }) => [
        ...[what, peer, median(tookMs), quantile(tookMs, 0), quantile(tookMs, 1)],
        String(tookMs.length),
      ]),
      notes: [
        "leader: until a task submitted right after its death has its result.",
        "BullMQ by default: locks of 30 s, looked for every 30 s. Failures come at even distances between",
        "two looks of the survivor.",
        `BullMQ tuned: ${JSON.stringify(TUNED)}. It has no drain that hands back, and no leader.`,
      ],
    },
    {
      subject: "failure",
      held: HELD,
      outcomes: outcomes.map(({ tookMs, ...about }) => ({
        ...about,
        tookMs: tookMs.map((ms) => rounded(ms)),
      })),
    },
  );
}
