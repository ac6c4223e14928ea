/**
 * A storm: a mesh under load, faults from a seed, and the judgement of all that was seen.
 *
 * Everything is healed before it is judged: what is then not finished never will be.
 */
import { setMaxListeners } from "node:events";
import { mkdtemp, readdir, readFile, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Requester } from "@swarm-mesh/bus";
import { Checker, readHistory, type Verdict } from "@swarm-mesh/checker";
import { looseValue } from "@swarm-mesh/protocol";
import { systemClock, ticks } from "@swarm-mesh/runtime";
import { CAPABILITY, FaultMesh } from "./fault-mesh.ts";
import { Injector } from "./injector.ts";
import { Load } from "./load.ts";
import { type LogTrouble, readTroubles } from "./logs.ts";
import type { SurprisingEnd } from "./mesh-process.ts";
import { Namespaces } from "./namespaces.ts";
import { seededRandom } from "./random.ts";
import { Recorder } from "./recorder.ts";
import { type Recovery, RecoveryWatch } from "./recovery.ts";
import { type Fault, type ScheduledFault, schedule } from "./schedule.ts";
import { SmallDisk } from "./small-disk.ts";
import { StateWatch } from "./state-watch.ts";

export interface StormOptions {
  readonly seed: number;
  /** How long faults are injected; starting, settling and judging come on top. */
  readonly durationMs: number;
  readonly nodes: number;
  /** Tasks at once, a node. */
  readonly slots: number;
  /** Processes of each service. */
  readonly replicas: number;
  /** Tasks a second. */
  readonly rate: number;
  /** Faults to draw from; default all. */
  readonly only?: readonly Fault[] | undefined;
  /** Keep the directory even when nothing was violated. */
  readonly keep: boolean;
  /** Told a line every few seconds, and what was left out. */
  readonly say: (line: string) => void;
  /** Aborts: no more faults and tasks; what there is is settled and judged. */
  readonly signal: AbortSignal;
}

/** What a storm was, and what came of it. */
export interface StormResult {
  readonly seed: number;
  /** From the first task to the last, in milliseconds. */
  readonly loadMs: number;
  readonly submitted: number;
  readonly acknowledged: number;
  /** Tasks by their final status. */
  readonly finals: Readonly<Record<string, number>>;
  /** Acknowledged, and without a final record when all was at rest. */
  readonly unfinished: readonly string[];
  readonly refusals: Readonly<Record<string, number>>;
  readonly recoveries: readonly Recovery[];
  /** Faults whose target was still under another. */
  readonly missed: readonly ScheduledFault[];
  /** Kinds of faults that this machine does not allow, and why. */
  readonly skipped: readonly string[];
  readonly verdict: Verdict;
  readonly troubles: readonly LogTrouble[];
  readonly surprises: readonly SurprisingEnd[];
  /** Where the history and the logs are. */
  readonly dir: string;
  /** Is there a reason to keep them? Else whoever reads the result removes them: {@link removeStorm}. */
  readonly kept: boolean;
  readonly history: string;
}

const CLIENTS = 2;
const PROGRESS_MS = 5_000;
/** For two minutes a message may wait for its ack-wait: only a longer silence is the end. */
const SETTLE_SILENT_MS = 150_000;
const SETTLE_POLL_MS = 100;
const SETTLE_LOOK_MS = 5_000;
/** A minute of the usual load takes some 12 MiB of records and tasks. */
const DISK_MEGABYTES = { least: 256, aMinute: 40 } as const;
const LINK_FAULTS: readonly Fault[] = ["link-down", "deaf", "mute"];

/** Runs a storm to its end. Rejects when the mesh does not start. */
export async function runStorm(options: StormOptions): Promise<StormResult> {
  const dir = await mkdtemp(join(tmpdir(), "mesh-storm-"));
  const skipped: string[] = [];
  const allowed = <T extends object>(made: T | { readonly refused: string }): T | undefined => {
    if (!("refused" in made)) return made;
    skipped.push(made.refused);
    options.say(`left out: ${made.refused}`);
    return undefined;
  };
  const wants = (faults: readonly Fault[]): boolean =>
    faults.some((fault) => options.only?.includes(fault) ?? true);
  const minutes = options.durationMs / 60_000;
  const megabytes = DISK_MEGABYTES.least + Math.ceil(minutes * DISK_MEGABYTES.aMinute);
  const namespaces = wants(LINK_FAULTS) ? allowed(await Namespaces.open()) : undefined;
  const disk = wants(["disk-full"])
    ? allowed(await SmallDisk.mount(join(dir, "store"), megabytes))
    : undefined;
  try {
    const mesh = await FaultMesh.start({ ...options, dir, namespaces, disk });
    try {
      const storm = await Storm.open(mesh, { ...options, dir });
      const result = { ...(await storm.run()), skipped };
      const kept = options.keep || isBad(result);
      return { ...result, dir, kept };
    } finally {
      await mesh.close();
    }
  } finally {
    namespaces?.close();
    disk?.close();
  }
}

type Told = Omit<StormResult, "skipped" | "dir" | "kept">;

class Storm {
  readonly #mesh: FaultMesh;
  readonly #options: StormOptions & { readonly dir: string };
  readonly #recorder: Recorder;
  readonly #watch: StateWatch;
  readonly #recovery: RecoveryWatch;
  readonly #load: Load;
  readonly #injector: Injector;
  readonly #acknowledged = new Set<string>();
  readonly #missed: ScheduledFault[] = [];
  #strikes = 0;

  private constructor(
    mesh: FaultMesh,
    options: StormOptions & { readonly dir: string },
    parts: { recorder: Recorder; watch: StateWatch; clients: readonly Requester[] },
  ) {
    this.#mesh = mesh;
    this.#options = options;
    this.#recorder = parts.recorder;
    this.#watch = parts.watch;
    this.#recovery = new RecoveryWatch(parts.watch);
    this.#load = new Load({
      clients: parts.clients,
      random: seededRandom(options.seed + 1),
      rate: options.rate,
      nodes: mesh.targets.flatMap(({ name, role }) => (role === "node" ? [name] : [])),
      note: (line) => parts.recorder.note(line),
      onAcknowledged: (id) => {
        this.#acknowledged.add(id);
        this.#recovery.acknowledged();
      },
    });
    parts.watch.on(({ id }) => {
      if (parts.watch.finals.has(id)) this.#load.final(id);
    });
    this.#injector = this.#makeInjector();
  }

  static async open(
    mesh: FaultMesh,
    options: StormOptions & { readonly dir: string },
  ): Promise<Storm> {
    const recorder = await Recorder.start({
      connect: (user) => mesh.connect(user),
      file: historyIn(options.dir),
      tracedCapabilities: [CAPABILITY],
      checkpointValue: valueIn,
    });
    const watch = await StateWatch.open(await mesh.connect("admin"), "_INBOX_admin");
    const clients: Requester[] = [];
    for (let count = 0; count < CLIENTS; count++) {
      clients.push(new Requester(await mesh.connect("client"), { inboxPrefix: "_INBOX_client" }));
    }
    return new Storm(mesh, options, { recorder, watch, clients });
  }

  /** Injects, heals, settles and judges. */
  async run(): Promise<Told> {
    const { signal, say, dir, seed } = this.#options;
    const over = new AbortController();
    const looking = this.#watch.lookAgain(over.signal);
    const telling = this.#tell(over.signal);
    // Every fault of a cluster waits for this one signal: many listeners are no leak.
    setMaxListeners(0, signal);
    const startedMs = systemClock.elapsed();
    this.#load.start();
    await this.#injector.run(signal);
    await systemClock.sleep(this.#options.durationMs - (systemClock.elapsed() - startedMs), signal);
    say("all is healed; waiting until every task is final");
    const loadMs = systemClock.elapsed() - startedMs;
    await this.#load.stop();
    const unfinished = await this.#settle();
    over.abort();
    await Promise.all([looking, telling]);
    await this.#recorder.finish({ traces: await wholeTraces(join(dir, "runs")) });
    say("judging");
    return {
      seed,
      loadMs,
      submitted: this.#load.submitted,
      acknowledged: this.#acknowledged.size,
      finals: countOf(this.#watch.finals.values()),
      unfinished,
      refusals: Object.fromEntries(this.#load.refusals),
      recoveries: this.#recovery.results(),
      missed: this.#missed,
      verdict: await judge(historyIn(dir)),
      troubles: await readTroubles(join(dir, "logs")),
      surprises: this.#mesh.surprises,
      history: historyIn(dir),
    };
  }

  #makeInjector(): Injector {
    const { seed, durationMs, only, say } = this.#options;
    const { targets } = this.#mesh;
    const chosen = only === undefined ? {} : { only };
    return new Injector({
      mesh: this.#mesh,
      schedule: schedule({ seed, durationMs, targets, ...chosen }),
      onStrike: (strike) => {
        const { fault, target } = strike;
        this.#strikes++;
        this.#recovery.struck(strike);
        // The checker allows for a clock that was put wrong, by so much.
        const shift = fault === "clock" ? { shiftMs: strike.scheduled.amountMs } : {};
        this.#recorder.note({ by: "injector", what: "fault", fault, target, ...shift });
      },
      onHealed: (strike) => {
        const { fault, target } = strike;
        this.#recovery.healed(strike);
        this.#recorder.note({ by: "injector", what: "healed", fault, target });
      },
      onMissed: (scheduled) => {
        this.#missed.push(scheduled);
        say(`${scheduled.fault} missed ${scheduled.target}`);
      },
    });
  }

  /** Waits until every acknowledged task is final; those that never were. */
  async #settle(): Promise<readonly string[]> {
    const forever = new AbortController().signal;
    const { finals } = this.#watch;
    const left = (): readonly string[] => [...this.#acknowledged].filter((id) => !finals.has(id));
    let [count, since, looked] = [-1, systemClock.elapsed(), systemClock.elapsed()];
    for (let open = left(); open.length > 0; open = left()) {
      const now = systemClock.elapsed();
      if (open.length !== count) [count, since] = [open.length, now];
      if (now - since > SETTLE_SILENT_MS) return open;
      if (now - looked > SETTLE_LOOK_MS) {
        // Also those that were never heard of: their records may have come while our link was down.
        await this.#watch.look(open, forever);
        looked = systemClock.elapsed();
      }
      await systemClock.sleep(SETTLE_POLL_MS);
    }
    return [];
  }

  /** Says every few seconds how it goes. */
  async #tell(signal: AbortSignal): Promise<void> {
    const startedMs = systemClock.elapsed();
    let [finals, atMs, first] = [0, startedMs, true];
    for await (const _ of ticks({ clock: systemClock, everyMs: PROGRESS_MS, signal })) {
      const now = systemClock.elapsed();
      const rate = ((this.#watch.finals.size - finals) * 1_000) / Math.max(1, now - atMs);
      [finals, atMs] = [this.#watch.finals.size, now];
      if (!first) {
        this.#options.say(
          [
            `${((now - startedMs) / 1_000).toFixed(0)} s`,
            `${this.#strikes} faults`,
            `${this.#acknowledged.size} tasks, ${finals} final (${rate.toFixed(0)}/s)`,
            `${this.#watch.open.size} open, ${this.#load.outstanding} unanswered`,
            `now: ${[...this.#injector.struck].join(" ") || "healthy"}`,
          ].join(" · "),
        );
      }
      first = false;
    }
  }
}

/** Lets the checker hear a history. */
async function judge(file: string): Promise<Verdict> {
  const checker = new Checker();
  for await (const { line, number } of readHistory(file)) checker.hear(line, number, file);
  return checker.judge();
}

/** Does what was seen count against the mesh? */
export function isBad({
  verdict,
  unfinished,
}: Pick<StormResult, "verdict" | "unfinished">): boolean {
  return verdict.violations.length > 0 || unfinished.length > 0;
}

function historyIn(dir: string): string {
  return join(dir, "history.jsonl");
}

/** How far the storm's own handler was when it saved this. */
function valueIn(saved: Uint8Array): number | undefined {
  const value = looseValue(saved);
  if (typeof value !== "object" || value === null || !("value" in value)) return undefined;
  return typeof value.value === "number" ? value.value : undefined;
}

/** The files that handlers wrote, each without a last line that a kill cut short. */
async function wholeTraces(dir: string): Promise<readonly string[]> {
  const files = (await readdir(dir)).map((name) => join(dir, name));
  for (const file of files) {
    const bytes = await readFile(file);
    const whole = bytes.lastIndexOf(0x0a) + 1;
    if (whole < bytes.length) await truncate(file, whole);
  }
  return files;
}

function countOf(words: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

/** Removes what a storm left. */
export async function removeStorm(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true });
}
