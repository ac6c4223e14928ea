/** What a history says of the run as a whole: who led, who lived, what was done to the mesh. */
import type { LineOf, Watched } from "./history.ts";
import type { Place } from "./violation.ts";

/** Where the judge leaves room. All milliseconds. */
export interface Margins {
  /** Between two observers' clocks, and for a message on its way; default 1 000. */
  readonly observersMs: number;
  /** How long after a fault something begun before may still arrive: a node's lease and more; default 7 000. */
  readonly faultMs: number;
  /** Between two stores' clocks; default 10. */
  readonly storesMs: number;
  /** What a handler may take to end once it was told to; default 2 000. */
  readonly graceMs: number;
}

export const MARGINS: Margins = {
  observersMs: 1_000,
  faultMs: 7_000,
  storesMs: 10,
  graceMs: 2_000,
};

/** A term of a leader, as its lease and the records tell. */
export interface Term {
  readonly epoch: number;
  /** The records with this epoch that have the lowest and the highest revision. */
  first: Written | undefined;
  last: Written | undefined;
}

interface Written {
  readonly revision: number;
  readonly place: Place;
  readonly task: string;
}

/** A change of a lease or of a node's record. `at`: when it was stored, else when it was seen. */
export type Keyed<T> = T & {
  readonly place: Place;
  readonly revision: number;
  readonly at: number;
};
export type LeaderChange = Keyed<{ readonly holder: LineOf<"leader-lease">["holder"] }>;
export type LifeChange = Keyed<{ readonly incarnation: number | null }>;
export type NodeChange = Keyed<{
  readonly incarnation: number;
  readonly state: LineOf<"node">["state"];
}>;

/** By how much the clock of whoever wrote a time may have been wrong then: from `least` to `most`. */
export interface Skew {
  readonly least: number;
  readonly most: number;
}

interface Disturbance {
  readonly fault: string;
  readonly target: string;
  readonly shiftMs: number;
  readonly from: number;
  until: number;
}

interface Strike {
  readonly at: number;
  readonly shiftMs?: number | undefined;
}

export class Run {
  readonly margins: Margins;
  /** Where the run was said to be over. */
  end: { readonly place: Place; readonly at: number } | undefined;
  /** Were the streams looked at when the run was over? */
  waitingKnown = false;
  faults = 0;
  /** Leaders of the coordinators alone: the records are theirs. */
  readonly leaders: LeaderChange[] = [];
  readonly nodeLeases = new Map<string, LifeChange[]>();
  readonly nodes = new Map<string, NodeChange[]>();
  readonly terms = new Map<number, Term>();
  readonly #watched = new Map<Watched, ReadonlySet<string> | "all">();
  readonly #disturbances: Disturbance[] = [];
  #ended = false;

  constructor(margins: Margins) {
    this.margins = margins;
  }

  /** Notes that an observer follows a kind. `capabilities` apply to `runs` alone. */
  watch(kind: Watched, capabilities: readonly string[] | undefined): void {
    const before = this.#watched.get(kind);
    if (before === "all") return;
    const all = kind !== "runs" || capabilities === undefined;
    this.#watched.set(kind, all ? "all" : new Set([...(before ?? []), ...capabilities]));
  }

  /** May something be concluded from a line of this kind that is missing? */
  watches(kind: Watched): boolean {
    return this.#watched.get(kind) === "all";
  }

  /** Is every run of this capability's handlers told? */
  watchesRunsOf(capability: string): boolean {
    const watched = this.#watched.get("runs");
    return watched === "all" || (watched?.has(capability) ?? false);
  }

  /** `shiftMs`: by how much the target's clock is wrong meanwhile. */
  disturb(fault: string, target: string, { at, shiftMs = 0 }: Strike): void {
    this.faults++;
    this.#disturbances.push({ fault, target, shiftMs, from: at, until: at });
  }

  heal(fault: string, target: string, at: number): void {
    const open = this.#disturbances.findLast((one) => one.fault === fault && one.target === target);
    if (open !== undefined) open.until = at;
  }

  /** Did a fault, or what it leaves behind, fall between these moments? */
  disturbed(from: number, to: number): boolean {
    const { faultMs } = this.margins;
    return this.#disturbances.some((one) => one.from <= to && one.until + faultMs >= from);
  }

  /** How late after `at` an effect of what was done before may be seen. */
  lateMs(at: number, seenAt: number): number {
    const { observersMs, faultMs } = this.margins;
    return this.disturbed(at, seenAt) ? faultMs : observersMs;
  }

  /**
   * By how much a time may be wrong that the leader of this term had written into what was stored at
   * this moment. It may have read its clock before, and the store may have been away since.
   */
  skewOf(epoch: number, at: number): Skew {
    const { observersMs, faultMs } = this.margins;
    // Who led is not known when nobody followed the leases: then it may be anyone.
    const leader = this.leaders.find(({ holder }) => holder?.epoch === epoch)?.holder?.instance;
    let [least, most] = [0, 0];
    for (const one of this.#disturbances) {
      if (one.shiftMs === 0 || (leader !== undefined && one.target !== leader)) continue;
      if (one.from - observersMs > at || one.until + faultMs < at) continue;
      [least, most] = [Math.min(least, one.shiftMs), Math.max(most, one.shiftMs)];
    }
    return { least, most };
  }

  /** When the last fault of this target that had begun by `at` was over; 0: there was none. */
  lastHealed(target: string, at: number): number {
    const own = this.#disturbances.filter((one) => one.target === target && one.from <= at);
    return Math.max(0, ...own.map((one) => one.until));
  }

  /** Puts what is told by revision in order, each once. Called when everything was heard. */
  settle(): void {
    if (this.#ended) return;
    this.#ended = true;
    inOrder(this.leaders);
    for (const changes of this.nodeLeases.values()) inOrder(changes);
    for (const changes of this.nodes.values()) inOrder(changes);
  }
}

function inOrder(changes: Keyed<unknown>[]): void {
  changes.sort((a, b) => a.revision - b.revision);
  let kept = 0;
  for (const change of changes) {
    if (kept > 0 && changes[kept - 1]?.revision === change.revision) continue;
    changes[kept++] = change;
  }
  changes.length = kept;
}
