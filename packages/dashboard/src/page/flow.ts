/**
 * Throughput, latency and errors over time, from the changes of task records as they come.
 *
 * One bucket a second, ten minutes of them. Above a rate not every task is read: a hash of its id
 * decides, so that a task is read whole or not at all, and the counts are scaled.
 */
import { isFinal, type TaskRecord } from "@swarm-mesh/protocol";
import { timeOf } from "@swarm-mesh/runtime";

/** Seconds that are kept. */
const FLOW_SECONDS = 600;
/** Changes that are read in a second; beyond it tasks are sampled. */
const READS_MAX = 1_000;
/** Latencies kept of one second. */
const LATENCIES_MAX = 500;

/** What came in one second. */
export interface Second {
  /** Wall clock, whole seconds since the epoch. */
  readonly at: number;
  /** Messages, whether read or not. */
  changes: number;
  started: number;
  succeeded: number;
  failed: number;
  cancelled: number;
  moved: number;
  /** Submit to result, ms, by the record's own times. */
  readonly latencies: number[];
  /** Waiting and running messages in the task streams, when it was asked. */
  depth: number | undefined;
  /** Was the mesh connected? A second without is a gap, not a zero. */
  connected: boolean;
}

export class Flow {
  readonly #seconds: Second[] = [];
  /** One task in so many is read. */
  #stride = 1;

  /** Every kept second, oldest first; the last one is under way. */
  get seconds(): readonly Second[] {
    return this.#seconds;
  }

  /** One task in so many is read at present. */
  get stride(): number {
    return this.#stride;
  }

  /** Begins the seconds up to `at`. To be called at least once a second. */
  tick(at: number, connected: boolean): void {
    const last = this.#seconds.at(-1);
    if (last !== undefined && at <= last.at) {
      last.connected &&= connected;
      return;
    }
    if (last !== undefined) this.#stride = Math.max(1, Math.ceil(last.changes / READS_MAX));
    const from = last === undefined ? at : Math.max(last.at + 1, at - FLOW_SECONDS + 1);
    for (let second = from; second <= at; second++) {
      // Seconds nobody ticked, as when the computer slept, were not watched.
      this.#seconds.push(emptySecond(second, connected && second === at));
    }
    while (this.#seconds.length > FLOW_SECONDS) this.#seconds.shift();
  }

  /** Counts a change; is it to be read? `known`: the page shows this task already. */
  arrives(taskId: string, known: boolean): boolean {
    const second = this.#seconds.at(-1);
    if (second === undefined) return known;
    second.changes++;
    return known || hashOf(taskId) % this.#stride === 0;
  }

  /** Adds what a change that was read says. */
  add(record: TaskRecord, previous: { readonly attempt: number } | undefined): void {
    const second = this.#seconds.at(-1);
    // A task that is read only because it is known says nothing of the others.
    if (second === undefined || hashOf(record.id) % this.#stride !== 0) return;
    const weight = this.#stride;
    if (record.status === "running") {
      const isNew = previous === undefined || record.attempt > previous.attempt;
      if (isNew && record.progress === null) second.started += weight;
      if (isNew && record.migrations.length > 0) second.moved += weight;
    }
    if (record.status === "succeeded") second.succeeded += weight;
    if (record.status === "failed" || record.status === "rejected") second.failed += weight;
    if (record.status === "cancelled") second.cancelled += weight;
    if (!isFinal(record.status) || record.finishedAt === null) return;
    const latency = timeOf(record.finishedAt) - timeOf(record.submittedAt);
    if (latency >= 0 && second.latencies.length < LATENCIES_MAX) second.latencies.push(latency);
  }

  /** Notes the depth of the task streams in the current second. */
  depth(stored: number): void {
    const second = this.#seconds.at(-1);
    if (second !== undefined) second.depth = stored;
  }
}

/** Sums over the last whole `seconds`. */
export interface Recent {
  readonly finishedPerSecond: number;
  readonly failedShare: number;
  readonly p50: number | undefined;
  readonly p99: number | undefined;
}

export function recentOf(all: readonly Second[], seconds: number): Recent {
  const window = all.slice(-seconds - 1, -1).filter(({ connected }) => connected);
  const sum = (of: (second: Second) => number): number =>
    window.reduce((total, second) => total + of(second), 0);
  const ended = sum(({ succeeded, failed, cancelled }) => succeeded + failed + cancelled);
  const latencies = window.flatMap((second) => second.latencies);
  return {
    finishedPerSecond: ended / Math.max(1, window.length),
    failedShare: ended === 0 ? 0 : sum(({ failed }) => failed) / ended,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
  };
}

/** The value below which a share `q` of the values lies; `undefined` for none. */
export function quantile(values: readonly number[], q: number): number | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)];
}

/** FNV-1a: any even spread will do. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}

function emptySecond(at: number, connected: boolean): Second {
  return {
    ...{ at, changes: 0, started: 0, succeeded: 0, failed: 0, cancelled: 0, moved: 0 },
    ...{ latencies: [], depth: undefined, connected },
  };
}
