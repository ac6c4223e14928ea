import type { NodeState } from "@swarm-mesh/protocol";
import { Config, settle } from "../src/config.ts";
import type { Unanswered } from "../src/inquiry.ts";
import { Liveness } from "../src/liveness.ts";

const { graceMs } = Config.parse({});

/** What may happen to a mesh. */
export type Step =
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "disconnect" | "pong" | "nobody" | "timeout" | "renew" | "expire"; id: string }
  | { readonly kind: "link" };

/** Nodes with incarnation 1, a clock, and the pings on their way. */
export class Mesh {
  readonly liveness: Liveness;
  now = 1_000;
  readonly #ids: readonly string[];
  readonly #asked = new Map<string, number>();
  #revision = 1;

  constructor(ids: readonly string[], limits: object = {}) {
    this.#ids = ids;
    this.liveness = new Liveness(settle(Config.parse(limits), 1), this.now);
    for (const id of ids) this.record(id, "ACTIVE");
  }

  /** Every node was heard renewing. */
  settle(): this {
    for (const id of this.#ids) this.renew(id);
    return this;
  }

  record(id: string, state: NodeState, incarnation = 1): this {
    const revision = this.#revision++;
    this.liveness.heardRecord(id, { state, incarnation, revision }, this.now);
    this.liveness.wrote(id, revision, this.now);
    return this;
  }

  renew(id: string, { incarnation = 1, lagMs = 0, fresh = true } = {}): this {
    this.liveness.heardLease(id, { incarnation, lagMs }, fresh, this.now);
    return this;
  }

  expire(id: string): this {
    this.liveness.leaseGone(id, this.now);
    return this;
  }

  disconnect(id: string): void {
    this.liveness.disconnected(id, this.now);
  }

  wait(ms: number): this {
    this.now += ms;
    return this;
  }

  isAsked(id: string): boolean {
    return this.#asked.has(id);
  }

  pong(id: string): void {
    const serial = this.#asked.get(id);
    this.#asked.delete(id);
    if (serial !== undefined) this.liveness.pingAnswered(serial, 1, this.now);
  }

  nobody(id: string): void {
    this.unanswered(id, "no-responders");
  }

  unanswered(id: string, kind: Unanswered): void {
    const serial = this.#asked.get(id);
    this.#asked.delete(id);
    if (serial !== undefined) this.liveness.pingUnanswered(serial, kind, this.now);
  }

  /** The commands, as `ping n1` or `FAILED n1`. */
  judge(): string[] {
    return this.liveness.judge(this.now).commands.map((command) => {
      if (command.kind === "write") return `${command.to} ${command.id}`;
      this.#asked.set(command.id, command.serial);
      return `ping ${command.id}`;
    });
  }

  /** Nobody is there any more: the server says so, and both pings. Returns all but the pings. */
  kill(...ids: readonly string[]): string[] {
    for (const id of ids) this.disconnect(id);
    const commands = this.judge();
    for (const id of ids) this.nobody(id);
    commands.push(...this.wait(graceMs).judge());
    for (const id of ids) this.nobody(id);
    commands.push(...this.judge());
    return commands.filter((command) => !command.startsWith("ping"));
  }

  take(step: Step): void {
    switch (step.kind) {
      case "wait":
        this.wait(step.ms);
        return;
      case "link":
        this.liveness.link(true, this.now);
        return;
      case "renew":
        this.renew(step.id);
        return;
      case "timeout":
        this.unanswered(step.id, "timeout");
        return;
      default:
        this[step.kind](step.id);
    }
  }
}
