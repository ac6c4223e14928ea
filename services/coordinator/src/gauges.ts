/** What a coordinator shows of this moment. A follower shows that it does not lead, and no tasks. */
import type { Meters, Sample } from "@swarm-mesh/runtime";
import type { Fleet } from "./fleet.ts";
import type { CoordinatorMeters } from "./meters.ts";
import { type Holding, phasesOf, type Queue, type QueueDeps, readQueue } from "./queue.ts";

export interface GaugesOptions extends QueueDeps {
  readonly meters: Meters;
  readonly counted: CoordinatorMeters;
  readonly fleet: Fleet;
  /** The term's number while this replica leads. */
  readonly epoch: () => number | undefined;
  /** What the term has in hand while this replica leads. */
  readonly holding: () => Holding | undefined;
}

/** Several gauges of one scrape are of one look at the store. */
const QUEUE_KEPT_MS = 1_000;

/** Adds the gauges; each is worked out when somebody asks for the page. */
export function addGauges(options: GaugesOptions): void {
  const { meters, epoch } = options;
  meters.gauge({ name: "mesh_leader", help: "1 while this replica leads." }, () =>
    epoch() === undefined ? 0 : 1,
  );
  meters.gauge(
    { name: "mesh_leader_epoch", help: "The number of the term while this replica leads, else 0." },
    () => epoch() ?? 0,
  );
  meters.gauge(
    {
      name: "mesh_tasks_in_hand",
      help: "Tasks in the leader's hands by phase: waiting, starting, running.",
      labels: ["phase"],
    },
    () => whenLeading(options, ({ tasks }) => phaseSamples(tasks)),
  );
  addSlots(options);
  addQueue(options);
}

function phaseSamples(tasks: Holding["tasks"]): Sample[] {
  const { waiting, starting, running } = phasesOf(tasks);
  return Object.entries({ waiting, starting, running }).map(([phase, value]) => ({
    labels: [phase],
    value,
  }));
}

function addSlots(options: GaugesOptions): void {
  const { meters, fleet, counted } = options;
  const slots = (state: "all" | "used") => whenLeading(options, () => one(fleet.slots()[state]));
  meters.gauge({ name: "mesh_slots", help: "Slots of the nodes that are given tasks." }, () =>
    slots("all"),
  );
  meters.gauge({ name: "mesh_slots_used", help: "Of mesh_slots, those that a task has." }, () =>
    slots("used"),
  );
  meters.gauge(
    {
      name: "mesh_slots_free",
      help: "Free slots for a capability. A slot counts for each capability its agent offers.",
      labels: ["capability"],
    },
    () =>
      whenLeading(options, () => {
        const free = new Map<string, number>();
        for (const capability of fleet.capabilities()) {
          counted.offered(capability);
          add(free, counted.labelOf(capability), fleet.free(capability));
        }
        return Array.from(free, ([label, value]) => ({ labels: [label], value }));
      }),
  );
}

function addQueue(options: GaugesOptions): void {
  const { meters, fleet, counted } = options;
  const read = kept(options);
  const gauge = (
    text: { name: string; help: string; labels?: string[] },
    samples: (queue: Queue) => readonly Sample[],
  ): void => {
    meters.gauge(text, async () => {
      const queue = await read();
      return queue === undefined ? [] : samples(queue);
    });
  };
  gauge(
    {
      name: "mesh_tasks_waiting",
      help: "Tasks that wait for their first try, in the stream or here.",
      labels: ["capability", "lane"],
    },
    ({ waiting }) => {
      const counts = new Map<string, number>();
      for (const { capability, lane, count } of waiting) {
        add(counts, `${counted.labelOf(capability)} ${lane}`, count);
      }
      return Array.from(counts, ([key, value]) => ({ labels: key.split(" "), value }));
    },
  );
  gauge(
    {
      name: "mesh_tasks_waiting_unserved",
      help: "Of mesh_tasks_waiting, those of capabilities that no node offers now.",
    },
    ({ waiting }) => {
      const unserved = waiting.filter(
        ({ capability }) => fleet.candidates(capability).length === 0,
      );
      return one(unserved.reduce((sum, { count }) => sum + count, 0));
    },
  );
  gauge(
    {
      name: "mesh_tasks_waiting_retry",
      help: "Tasks that wait for their next try: for its time, or for a node.",
    },
    ({ retriesCount }) => one(retriesCount),
  );
  gauge(
    {
      name: "mesh_task_oldest_waiting_seconds",
      help: "Age of the oldest task that waits for its first try; 0 when none waits.",
    },
    ({ oldestMs }) => one(Number.isFinite(oldestMs) ? oldestMs / 1_000 : 0),
  );
}

/** Reads the queue at most once a second; `undefined` when this replica does not lead. */
function kept(options: GaugesOptions): () => Promise<Queue | undefined> {
  let reading: Promise<Queue> | undefined;
  let readAtMs = Number.NEGATIVE_INFINITY;
  return async () => {
    const holding = options.holding();
    if (holding === undefined) return undefined;
    const now = options.clock.elapsed();
    if (reading === undefined || now - readAtMs > QUEUE_KEPT_MS) {
      readAtMs = now;
      reading = readQueue(options, holding);
    }
    return reading;
  };
}

function whenLeading(
  { holding }: GaugesOptions,
  samples: (holding: Holding) => readonly Sample[],
): readonly Sample[] {
  const held = holding();
  return held === undefined ? [] : samples(held);
}

function one(value: number): Sample[] {
  return [{ labels: [], value }];
}

function add(sums: Map<string, number>, key: string, value: number): void {
  sums.set(key, (sums.get(key) ?? 0) + value);
}
