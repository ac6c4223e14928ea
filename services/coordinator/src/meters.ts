/**
 * What a coordinator counts. One for the process, whatever terms it leads; a follower counts nothing.
 *
 * Cells are held by whoever counts: what happens for every task is an addition to one of them.
 */
import { auditRefusals } from "@swarm-mesh/bus";
import { Lane, MoveReason } from "@swarm-mesh/protocol";
import {
  type Counter,
  type Family,
  type Histogram,
  LONG_SECONDS,
  type Meters,
  OTHER,
  QUICK_SECONDS,
} from "@swarm-mesh/runtime";

/** Capabilities that have lines of their own; all further ones are `other`. */
const CAPABILITIES_MAX = 64;

/** What is counted of one capability. */
export interface CapabilityCells {
  readonly started: Counter;
  readonly retried: Counter;
  readonly succeeded: Counter;
  readonly failed: Counter;
  readonly cancelled: Counter;
  readonly rejected: Counter;
  readonly run: Histogram;
}

/**
 * Why an outcome or a move had no effect: the task has ended; another try, or another node, has it; it
 * is not known; somebody else had made the move.
 */
const FENCED_REASONS = ["final", "other_try", "no_record", "moved_before"] as const;
export type FencedReason = (typeof FENCED_REASONS)[number];

export class CoordinatorMeters {
  readonly #cells = new Map<string, CapabilityCells>();
  readonly #other: CapabilityCells;
  readonly #finished: Family<Counter>;
  readonly #started: Family<Counter>;
  readonly #retried: Family<Counter>;
  readonly #run: Family<Histogram>;
  readonly wait: Family<Histogram>;
  readonly dispatch: Histogram;
  readonly takeover: Histogram;
  readonly moves: Family<Counter>;
  readonly #fenced: Family<Counter>;
  readonly deadLetters: Counter;
  readonly refusedByNodes: Counter;
  readonly conflicts: Counter;
  readonly writesAgain: Counter;
  readonly terms: Counter;
  readonly auditRefusals: Counter;

  constructor(meters: Meters) {
    this.#finished = meters.counters({
      name: "mesh_tasks_finished_total",
      help: "Tasks that got their final record, by capability and status.",
      labels: ["capability", "status"],
    });
    this.#started = meters.counters({
      name: "mesh_task_tries_total",
      help: "Tries begun: records that became running.",
      labels: ["capability"],
    });
    this.#retried = meters.counters({
      name: "mesh_task_retries_total",
      help: "Tries that failed and will be followed by another.",
      labels: ["capability"],
    });
    this.#run = meters.histograms(
      {
        name: "mesh_task_run_seconds",
        help: "From the record running to the outcome's arrival, of tries that told an outcome.",
        labels: ["capability"],
      },
      LONG_SECONDS,
    );
    this.wait = meters.histograms(
      {
        name: "mesh_task_queue_wait_seconds",
        help: "From the submit's storage to the first try's record, by lane.",
        labels: ["lane"],
      },
      LONG_SECONDS,
      Lane.options,
    );
    this.dispatch = meters.histogram(
      {
        name: "mesh_task_dispatch_seconds",
        help: "From the choice of a node until the task is on its way there, record included.",
      },
      QUICK_SECONDS,
    );
    this.takeover = meters.histogram(
      {
        name: "mesh_leader_takeover_seconds",
        help: "From leading until all that the leader before had is in hand.",
      },
      QUICK_SECONDS,
    );
    this.moves = meters.counters(
      {
        name: "mesh_task_moves_total",
        help: "Tries taken from their node and given to another, by reason.",
        labels: ["reason"],
      },
      MoveReason.options,
    );
    this.#fenced = meters.counters(
      {
        name: "mesh_fenced_total",
        help: "Outcomes and moves without effect, because another try, node or end stands.",
        labels: ["reason"],
      },
      FENCED_REASONS,
    );
    const plain = (name: string, help: string): Counter => meters.counter({ name, help });
    this.deadLetters = plain("mesh_dead_letters_total", "Dead letters written.");
    this.refusedByNodes = plain("mesh_task_refusals_total", "Dispatches that a node refused.");
    this.conflicts = plain(
      "mesh_record_conflicts_total",
      "Writes of a record that somebody else was faster with.",
    );
    this.writesAgain = plain(
      "mesh_record_writes_again_total",
      "Writes of a record sent again, because the store had not answered.",
    );
    this.terms = plain("mesh_leader_terms_total", "Terms that this replica began.");
    this.auditRefusals = auditRefusals(meters);
    this.#other = this.#make(OTHER);
  }

  /**
   * Gives a capability lines of its own, while there is room. For those that a node offers: anybody
   * may submit under any name, and must not push the others out.
   */
  offered(capability: string): CapabilityCells {
    const known = this.#cells.get(capability);
    if (known !== undefined) return known;
    if (this.#cells.size >= CAPABILITIES_MAX) return this.#other;
    const cells = this.#make(capability);
    this.#cells.set(capability, cells);
    return cells;
  }

  of(capability: string): CapabilityCells {
    return this.#cells.get(capability) ?? this.#other;
  }

  /** The capability as a label: itself, or `other`. */
  labelOf(capability: string): string {
    return this.#cells.has(capability) ? capability : OTHER;
  }

  fenced(reason: FencedReason): void {
    this.#fenced.of(reason).inc();
  }

  #make(label: string): CapabilityCells {
    return {
      started: this.#started.of(label),
      retried: this.#retried.of(label),
      run: this.#run.of(label),
      succeeded: this.#finished.of(label, "succeeded"),
      failed: this.#finished.of(label, "failed"),
      cancelled: this.#finished.of(label, "cancelled"),
      rejected: this.#finished.of(label, "rejected"),
    };
  }
}
