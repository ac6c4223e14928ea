/** Agents: named executors with capabilities and slots, and who of them takes a task. */
import {
  type Agent,
  AgentName,
  Capability,
  check,
  NODE_CAPABILITIES_MAX,
  NODE_SLOTS_MAX,
} from "@swarm-mesh/protocol";
import type { TaskHandler } from "./handler.ts";

/** A mistake in how a node is set up; the message says what and where. */
export class SetupError extends Error {
  override readonly name = "SetupError";
  readonly code = "bad_setup";
}

/** An agent as it is configured. */
export interface AgentOptions {
  readonly name: string;
  /** Tasks it runs at once. */
  readonly slots: number;
}

/** One agent at work. */
export interface Executor {
  readonly name: string;
  readonly slots: number;
  readonly handlers: Map<string, TaskHandler>;
  /** Slots in use. */
  running: number;
}

/** Who takes a task. */
export type Pick =
  | { readonly kind: "agent"; readonly agent: Executor; readonly handler: TaskHandler }
  | { readonly kind: "busy" }
  | { readonly kind: "unknown" };

export class Agents {
  readonly #agents = new Map<string, Executor>();
  readonly #byCapability = new Map<string, Executor[]>();
  readonly #first: string;

  constructor(agents: readonly AgentOptions[]) {
    for (const { name, slots } of agents) {
      const named = check(AgentName, name);
      if (!named.ok) throw new SetupError(`agent ${JSON.stringify(name)}: ${named.problem}`);
      if (this.#agents.has(name)) throw new SetupError(`two agents are named ${name}`);
      if (!Number.isInteger(slots) || slots < 1) {
        throw new SetupError(`agent ${name}: slots must be a whole number from 1`);
      }
      this.#agents.set(name, { name, slots, handlers: new Map(), running: 0 });
    }
    this.#first = agents[0]?.name ?? "";
  }

  /** Gives `agentName`, or else the first agent, a handler. Throws {@link SetupError}. */
  add(capability: string, handler: TaskHandler, agentName: string = this.#first): void {
    const named = check(Capability, capability);
    if (!named.ok) {
      throw new SetupError(`capability ${JSON.stringify(capability)}: ${named.problem}`);
    }
    const agent = this.#agents.get(agentName);
    if (agent === undefined) {
      const known = [...this.#agents.keys()].join(", ");
      throw new SetupError(`capability ${capability}: no agent ${agentName}, only ${known}`);
    }
    if (agent.handlers.has(capability)) {
      throw new SetupError(`agent ${agentName} has a handler for ${capability} already`);
    }
    agent.handlers.set(capability, handler);
    const offering = this.#byCapability.get(capability);
    if (offering === undefined) this.#byCapability.set(capability, [agent]);
    else offering.push(agent);
  }

  /** The agents as they are registered: those that have something to offer. */
  registered(): Agent[] {
    const agents = [...this.#agents.values()].filter((agent) => agent.handlers.size > 0);
    if (agents.length === 0) throw new SetupError("the node has no handler: call handle() first");
    if (this.#byCapability.size > NODE_CAPABILITIES_MAX) {
      throw new SetupError(`more than ${NODE_CAPABILITIES_MAX} capabilities`);
    }
    if (this.slots > NODE_SLOTS_MAX) throw new SetupError(`more than ${NODE_SLOTS_MAX} slots`);
    return agents.map(({ name, slots, handlers }) => ({
      name,
      slots,
      capabilities: [...handlers.keys()],
    }));
  }

  /** The sum over the agents that have something to offer. */
  get slots(): number {
    let slots = 0;
    for (const agent of this.#agents.values()) if (agent.handlers.size > 0) slots += agent.slots;
    return slots;
  }

  /** Slots in use. */
  get running(): number {
    let running = 0;
    for (const agent of this.#agents.values()) running += agent.running;
    return running;
  }

  /** Every handler once, with the most tasks it is given at a time. */
  handlers(): Map<TaskHandler, number> {
    const slots = new Map<TaskHandler, number>();
    for (const agent of this.#agents.values()) {
      for (const handler of new Set(agent.handlers.values())) {
        slots.set(handler, (slots.get(handler) ?? 0) + agent.slots);
      }
    }
    return slots;
  }

  /** The agent with the most free slots among those that offer `capability`. Takes no slot. */
  pick(capability: string): Pick {
    const offering = this.#byCapability.get(capability);
    if (offering === undefined) return { kind: "unknown" };
    let best: Executor | undefined;
    for (const agent of offering) {
      if (best === undefined || agent.slots - agent.running > best.slots - best.running) {
        best = agent;
      }
    }
    const handler = best?.handlers.get(capability);
    if (best === undefined || handler === undefined) return { kind: "unknown" };
    return best.running < best.slots ? { kind: "agent", agent: best, handler } : { kind: "busy" };
  }
}
