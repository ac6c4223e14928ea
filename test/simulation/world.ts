/** What all simulated processes share, and what each of them is made of. */
import type { Clock, Random } from "@swarm-mesh/runtime";
import type { LivenessLimits } from "../../services/health-monitor/src/liveness.ts";
import type { Judge } from "./judge.ts";
import { Link, type Network } from "./network.ts";
import type { Plan } from "./plan.ts";
import { Process } from "./process.ts";
import { SimRequester } from "./requester.ts";
import type { Dice, Scheduler } from "./scheduler.ts";
import type { StoreServer } from "./store.ts";

/** What is wrong in a run that must fail. Decisions are spoiled where they are defined, by a spy. */
export interface Sabotage {
  /** The headers of a dispatch as the node reads them. */
  readonly readHeader?: (
    name: string,
    value: string,
    node: { readonly incarnation: number },
  ) => string;
  /** The clock that the leader's lease goes by. */
  readonly leaseClock?: (clock: Clock) => Clock;
  /** The clock that a node's lease goes by. */
  readonly nodeLeaseClock?: (clock: Clock) => Clock;
  /** Messages are acknowledged when they come. */
  readonly acksAtOnce?: boolean;
  /** Records are written whatever their revision is. */
  readonly unfenced?: boolean;
  /** Settings of the health-monitor. */
  readonly liveness?: Partial<LivenessLimits>;
}

export interface World {
  readonly plan: Plan;
  readonly scheduler: Scheduler;
  readonly dice: Dice;
  readonly network: Network;
  readonly store: StoreServer;
  readonly judge: Judge;
  readonly sabotage: Sabotage;
}

/** A process with its connection, as its code sees it. */
export class Host {
  readonly world: World;
  readonly process: Process;
  readonly link: Link;
  readonly requester: SimRequester;
  readonly random: Random;
  /**
   * Aborted when the run is over: what still waits for a signal made of others is kept by the engine
   * for as long as none of them aborts.
   */
  readonly endings: AbortController[] = [];

  /** `main` runs at each start, once the process is connected. */
  constructor(world: World, name: string, main: (host: Host) => void) {
    this.world = world;
    this.process = new Process({
      name,
      scheduler: world.scheduler,
      dice: world.dice,
      timerLateMs: world.plan.timerLateMs,
      main: () => this.link.open(() => main(this)),
    });
    this.link = new Link(this.process, world.network);
    this.requester = new SimRequester(this.link, world.store);
    this.random = world.dice.next;
  }

  get name(): string {
    return this.process.name;
  }

  /** Runs work that nobody waits for; that it fails is a bug of the simulated process. */
  spawn(work: Promise<unknown>): void {
    work.catch((error: unknown) => {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.world.judge.fail("no process throws", `${this.name}: ${text}`);
    });
  }

  note(what: string, detail?: unknown): void {
    this.world.judge.note(this.name, what, detail);
  }
}
