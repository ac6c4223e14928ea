/**
 * Tasks that are here and wait for a slot: by capability, by the labels they require, by lane.
 *
 * Tasks that require labels wait apart from those that do not, so that work nobody can take yet
 * never stands in the way of other work.
 */
import type { Labels } from "@swarm-mesh/protocol";

/** The order in which waiting tasks are taken. A retry has waited once already. */
export const PRECEDENCE = ["retry", "high", "normal", "low"] as const;
export type Precedence = (typeof PRECEDENCE)[number];

/** What the backlog needs to know of a task. */
export interface Waiting {
  readonly capability: string;
  readonly precedence: Precedence;
  /** Place in the stream: the lower came first. */
  readonly seq: number;
  readonly requires: Labels | undefined;
  /** No longer wanted: skipped and dropped when its turn comes. */
  readonly gone: boolean;
}

interface Group<T> {
  readonly requires: Labels | undefined;
  readonly lanes: readonly T[][];
}

export class Backlog<T extends Waiting> {
  readonly #groups = new Map<string, Map<string, Group<T>>>();
  #size = 0;
  #apart = 0;

  /** Tasks here. */
  get size(): number {
    return this.#size;
  }

  /** Of these, tasks that require labels. */
  get apart(): number {
    return this.#apart;
  }

  /** Tasks of the capability that any of its nodes could take. */
  ready(capability: string): number {
    const lanes = this.#groups.get(capability)?.get("")?.lanes ?? [];
    return lanes.reduce((sum, lane) => sum + lane.length, 0);
  }

  push(task: T): void {
    const byRequires = this.#groups.get(task.capability) ?? new Map<string, Group<T>>();
    this.#groups.set(task.capability, byRequires);
    const key = keyOf(task.requires);
    const group = byRequires.get(key) ?? {
      requires: task.requires,
      lanes: PRECEDENCE.map((): T[] => []),
    };
    byRequires.set(key, group);
    insert(group.lanes[PRECEDENCE.indexOf(task.precedence)] ?? [], task);
    this.#size++;
    if (key !== "") this.#apart++;
  }

  /** Takes the task that goes first among those of `capabilities` that fit; `undefined`: none. */
  take(
    capabilities: readonly string[],
    fits: (capability: string, requires: Labels | undefined) => boolean,
  ): T | undefined {
    let best: { task: T; lane: T[]; rank: number; key: string; capability: string } | undefined;
    for (const capability of capabilities) {
      for (const [key, group] of this.#groups.get(capability) ?? []) {
        if (!fits(capability, group.requires)) continue;
        const rank = group.lanes.findIndex((lane) => this.#prune(lane, key) > 0);
        const lane = group.lanes[rank];
        const task = lane?.[0];
        if (lane === undefined || task === undefined) continue;
        if (
          best === undefined ||
          rank < best.rank ||
          (rank === best.rank && task.seq < best.task.seq)
        ) {
          best = { task, lane, rank, key, capability };
        }
      }
    }
    if (best === undefined) return undefined;
    best.lane.shift();
    this.#dropped(best.key, 1);
    this.#tidy(best.capability, best.key);
    return best.task;
  }

  /** Drops the tasks at the head of a lane that are gone; the lane's length after that. */
  #prune(lane: T[], key: string): number {
    while (lane[0]?.gone === true) {
      lane.shift();
      this.#dropped(key, 1);
    }
    return lane.length;
  }

  #dropped(key: string, count: number): void {
    this.#size -= count;
    if (key !== "") this.#apart -= count;
  }

  /** Forgets a set of labels nobody waits for, so that their number cannot grow. */
  #tidy(capability: string, key: string): void {
    const byRequires = this.#groups.get(capability);
    const group = byRequires?.get(key);
    if (key === "" || group === undefined) return;
    if (group.lanes.every((lane) => lane.length === 0)) byRequires?.delete(key);
  }
}

function keyOf(requires: Labels | undefined): string {
  if (requires === undefined) return "";
  return Object.keys(requires)
    .sort()
    .map((name) => `${name}=${requires[name]}`)
    .join(",");
}

/** Keeps a lane in the order of the stream; nearly always that is its end. */
function insert<T extends Waiting>(lane: T[], task: T): void {
  let at = lane.length;
  while (at > 0 && (lane[at - 1]?.seq ?? 0) > task.seq) at--;
  lane.splice(at, 0, task);
}
