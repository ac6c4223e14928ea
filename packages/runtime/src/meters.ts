/**
 * What a process counts of itself.
 *
 * Counting is an addition to a number that the caller holds: no lookup by labels, no object, no
 * promise, because a leader counts several times for each of thousands of tasks a second. Text is
 * made of it when somebody asks, by the metrics package.
 */

/** A number that only grows. */
export class Counter {
  value = 0;

  inc(by = 1): void {
    this.value += by;
  }
}

/** How often each length of time occurred. */
export class Histogram {
  /** Upper ends of the buckets, in the metric's unit, ascending; the last one is open. */
  readonly bounds: readonly number[];
  /** Observations of each bucket alone; one more than there are bounds. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const { bounds, counts } = this;
    let at = 0;
    while (at < bounds.length && value > (bounds[at] ?? 0)) at++;
    counts[at] = (counts[at] ?? 0) + 1;
    this.sum += value;
  }

  /** Observes a span of milliseconds, as clocks have them, in seconds. A clock that went back: 0. */
  observeMs(ms: number): void {
    this.observe(ms > 0 ? ms / 1_000 : 0);
  }
}

/** One line of a metric. */
export interface Sample {
  /** Values of the labels, in their order. */
  readonly labels: readonly string[];
  readonly value: number;
}

/** A number, or one for each combination of labels. May ask others, as the store, and reject. */
type Read = () => readonly Sample[] | number | Promise<readonly Sample[] | number>;

/** What a metric is called, as people will read it. */
export interface MeterText {
  /** `mesh_…`, with its unit, and `_total` when it only grows. */
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
}

/** A metric and how to read it. */
export type Meter = Required<MeterText> &
  (
    | {
        readonly type: "counter" | "gauge";
        /** Rejects when it cannot be had; it is left out then. */
        readonly read: () => readonly Sample[] | Promise<readonly Sample[]>;
      }
    | {
        readonly type: "histogram";
        readonly cells: () => Iterable<readonly [labels: readonly string[], cell: Histogram]>;
      }
  );

/** What every further combination of labels is counted as, once there are too many. */
export const OTHER = "other";
/** Combinations of labels of one metric; a limit against names that others choose. */
const CELLS_MAX = 1_000;

/** A metric with labels: one cell for each combination. Keep the cell where it is counted often. */
export class Family<Cell> {
  readonly #make: () => Cell;
  readonly #cells = new Map<string, readonly [labels: readonly string[], cell: Cell]>();

  constructor(make: () => Cell) {
    this.#make = make;
  }

  /** The cell of these values, in the order of the labels. Beyond the limit all share one. */
  of(...labels: readonly string[]): Cell {
    const key = labels.length === 1 ? (labels[0] ?? "") : labels.join("\n");
    const known = this.#cells.get(key);
    if (known !== undefined) return known[1];
    if (this.#cells.size >= CELLS_MAX && labels.some((label) => label !== OTHER)) {
      return this.of(...labels.map(() => OTHER));
    }
    const cell = this.#make();
    this.#cells.set(key, [labels, cell]);
    return cell;
  }

  cells(): IterableIterator<readonly [labels: readonly string[], cell: Cell]> {
    return this.#cells.values();
  }
}

/** The metrics of one process. A name is taken once: the second one of it throws. */
export class Meters {
  readonly #meters = new Map<string, Meter>();

  counter(text: MeterText): Counter {
    return this.counters(text).of();
  }

  /**
   * A counter with labels. `known`: values of its one label that are shown from the start, because a
   * line that begins with its first event hides that event from whoever asks how many were added.
   */
  counters(text: MeterText, known: readonly string[] = []): Family<Counter> {
    const family = new Family(() => new Counter());
    for (const value of known) family.of(value);
    const read = (): Sample[] =>
      Array.from(family.cells(), ([labels, { value }]) => ({ labels, value }));
    this.#add({ labels: [], ...text, type: "counter", read });
    return family;
  }

  /** A counter that somebody else counts; read when it is asked for. */
  counted(text: MeterText, read: Read): void {
    this.#addRead("counter", text, read);
  }

  /** A number that goes up and down; read when it is asked for. */
  gauge(text: MeterText, read: Read): void {
    this.#addRead("gauge", text, read);
  }

  histogram(text: MeterText, bounds: readonly number[]): Histogram {
    return this.histograms(text, bounds).of();
  }

  /** A histogram with labels; `known` as for {@link counters}. */
  histograms(
    text: MeterText,
    bounds: readonly number[],
    known: readonly string[] = [],
  ): Family<Histogram> {
    const family = new Family(() => new Histogram(bounds));
    for (const value of known) family.of(value);
    const cells = () => family.cells();
    this.#add({ labels: [], ...text, type: "histogram", cells });
    return family;
  }

  all(): IterableIterator<Meter> {
    return this.#meters.values();
  }

  #addRead(type: "counter" | "gauge", text: MeterText, read: Read): void {
    this.#add({ labels: [], ...text, type, read: async () => samplesOf(await read()) });
  }

  #add(meter: Meter): void {
    if (this.#meters.has(meter.name)) throw new Error(`two metrics are named ${meter.name}`);
    this.#meters.set(meter.name, meter);
  }
}

function samplesOf(read: readonly Sample[] | number): readonly Sample[] {
  return typeof read === "number" ? [{ labels: [], value: read }] : read;
}

/** Bounds for what should take milliseconds: 0.5 ms to 10 s, in seconds. */
export const QUICK_SECONDS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
] as const;
/** Bounds for work and for waiting: 5 ms to an hour, in seconds. */
export const LONG_SECONDS = [
  0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600,
] as const;
