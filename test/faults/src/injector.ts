/** Carries out a schedule: strikes when it is time, and heals what it struck. */
import { systemClock } from "@swarm-mesh/runtime";
import { type FaultMesh, SERVER } from "./fault-mesh.ts";
import type { LinkState } from "./faulty-link.ts";
import type { CableState } from "./namespaces.ts";
import { type Fault, LEADER, type ScheduledFault } from "./schedule.ts";

/** A fault that struck. */
export interface Strike {
  readonly fault: Fault;
  /** A process, never `leader`. */
  readonly target: string;
  readonly scheduled: ScheduledFault;
  /** Did the target lead when it was struck? */
  readonly led: boolean;
  /** On the monotonic clock. */
  readonly atMs: number;
}

export interface InjectorOptions {
  readonly mesh: FaultMesh;
  readonly schedule: readonly ScheduledFault[];
  /** Called right before a fault strikes, and when it is healed. */
  readonly onStrike: (strike: Strike) => void;
  readonly onHealed: (strike: Strike) => void;
  /** A fault that could not strike: its target was still under another, or not there. */
  readonly onMissed: (scheduled: ScheduledFault) => void;
}

export class Injector {
  readonly #options: InjectorOptions;
  readonly #struck = new Set<string>();

  constructor(options: InjectorOptions) {
    this.#options = options;
  }

  /** Faults that are not healed yet, by their targets. */
  get struck(): ReadonlySet<string> {
    return this.#struck;
  }

  /** Runs the schedule; when `signal` aborts, nothing more strikes and all is healed at once. */
  async run(signal: AbortSignal): Promise<void> {
    const startedMs = systemClock.elapsed();
    const faults: Promise<void>[] = [];
    for (const scheduled of this.#options.schedule) {
      await systemClock.sleep(scheduled.atMs - (systemClock.elapsed() - startedMs), signal);
      if (signal.aborted) break;
      faults.push(this.#inject(scheduled, signal));
    }
    await Promise.all(faults);
  }

  async #inject(scheduled: ScheduledFault, signal: AbortSignal): Promise<void> {
    const { mesh, onStrike, onHealed, onMissed } = this.#options;
    const { fault } = scheduled;
    const asked = scheduled.target === LEADER || scheduled.target.startsWith("coordinator-");
    const leader = asked ? await mesh.leader() : "";
    const target = scheduled.target === LEADER ? leader : scheduled.target;
    if (this.#struck.has(target) || !mesh.process(target).running) {
      onMissed(scheduled);
      return;
    }
    this.#struck.add(target);
    const led = target === leader;
    const strike: Strike = { fault, target, scheduled, led, atMs: systemClock.elapsed() };
    onStrike(strike);
    await ACTS[fault].strike(mesh, target, scheduled);
    await systemClock.sleep(scheduled.lengthMs, signal);
    await ACTS[fault].heal(mesh, target);
    onHealed(strike);
    this.#struck.delete(target);
  }
}

interface Act {
  readonly strike: (mesh: FaultMesh, target: string, fault: ScheduledFault) => Promise<void>;
  readonly heal: (mesh: FaultMesh, target: string) => Promise<void>;
}

const start = async (mesh: FaultMesh, target: string): Promise<void> => {
  mesh.process(target).start();
};

/** What each fault is. */
const ACTS: Readonly<Record<Fault, Act>> = {
  kill: { strike: (mesh, target) => mesh.process(target).kill(), heal: start },
  restart: { strike: (mesh, target) => mesh.process(target).stop(), heal: start },
  freeze: {
    strike: async (mesh, target) => mesh.process(target).signal("SIGSTOP"),
    heal: async (mesh, target) => mesh.process(target).signal("SIGCONT"),
  },
  cut: proxyAct(() => ({ kind: "cut" })),
  "half-open": proxyAct(() => ({ kind: "half-open" })),
  stall: proxyAct(() => ({ kind: "stall" })),
  latency: proxyAct(({ amountMs }) => ({ kind: "latency", ms: amountMs })),
  "link-down": cableAct("link-down"),
  deaf: cableAct("deaf"),
  mute: cableAct("mute"),
  clock: {
    strike: async (mesh, target, { amountMs }) => mesh.setClock(target, amountMs),
    heal: async (mesh, target) => mesh.setClock(target, 0),
  },
  "disk-full": {
    strike: async (mesh) => mesh.disk?.fill(),
    // A stream that met a full disk stays closed until the server has read it anew, whatever is freed.
    heal: async (mesh) => {
      await mesh.disk?.free();
      await mesh.process(SERVER).stop();
      mesh.process(SERVER).start();
    },
  },
};

function proxyAct(stateOf: (fault: ScheduledFault) => LinkState): Act {
  return {
    strike: async (mesh, target, fault) => mesh.proxy(target).set(stateOf(fault)),
    heal: async (mesh, target) => mesh.proxy(target).set({ kind: "clear" }),
  };
}

function cableAct(state: CableState): Act {
  return {
    strike: (mesh, target) => mesh.cable(target).set(state),
    heal: (mesh, target) => mesh.cable(target).set("clear"),
  };
}
