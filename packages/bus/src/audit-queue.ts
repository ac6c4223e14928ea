/** Entries of the audit trail on their way: told now, written as soon as they can be, in their order. */
import type { AuditDeed } from "@swarm-mesh/protocol";
import { type Counter, type Log, Wakeup } from "@swarm-mesh/runtime";
import type { AuditTrail } from "./audit-trail.ts";

/** Entries waiting; at the limit further ones are only logged. */
const WAITING_MAX = 1_000;

export class AuditQueue {
  readonly #trail: AuditTrail;
  readonly #log: Log;
  readonly #refusals: Counter;
  readonly #wakeup = new Wakeup();
  readonly #waiting: AuditDeed[] = [];

  constructor(trail: AuditTrail, log: Log, refusals: Counter) {
    this.#trail = trail;
    this.#log = log;
    this.#refusals = refusals;
  }

  /** Has a deed written; who did it does not wait for that. */
  tell(deed: AuditDeed): void {
    if (this.#waiting.length >= WAITING_MAX) {
      this.#log.error({ deed }, "too much waits for the audit trail: this is not in it");
      return;
    }
    this.#waiting.push(deed);
    this.#wakeup.ring();
  }

  /** Writes until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#wakeup.clear();
      const [deed] = this.#waiting;
      if (deed === undefined) {
        await this.#wakeup.wait(signal);
        continue;
      }
      await this.#trail.appendPatiently(deed, {
        log: this.#log,
        refusals: this.#refusals,
        signal,
      });
      this.#waiting.shift();
    }
  }
}
