/**
 * Sends submits until they are stored: one id, as many tries as the deadline allows.
 *
 * A try that was not answered may have been stored. The next one carries the same `Nats-Msg-Id`, and
 * the stream, or later the task's record, makes both the same task.
 */
import type { Requester, Stored } from "@swarm-mesh/bus";
import { backoffMs, type Clock, type Random, REQUEST_BACKOFF } from "@swarm-mesh/runtime";
import { ClosedConnectionError } from "nats";
import { onAbort } from "./abort.ts";
import type { Denials } from "./denials.ts";
import { SubmitError } from "./errors.ts";
import type { Submission } from "./submission.ts";

/** A submit that is durable. */
export interface Submitted {
  readonly id: string;
  /** The stream had it already: an earlier try, or someone else with the same id. */
  readonly duplicate: boolean;
}

/** What became of a submit. */
export type SubmitOutcome = Submitted | SubmitError;

export interface SubmitterDeps {
  readonly requester: Requester;
  readonly denials: Denials;
  readonly clock: Clock;
  readonly random: Random;
}

/** How long one try may take. Two fit into the pause of a store that elects a leader. */
const TRY_TIMEOUT_MS = 4_000;

export class Submitter {
  readonly #deps: SubmitterDeps;
  readonly #deadlineMs: number;
  readonly #onTheWay = new Set<Try>();

  constructor(deps: SubmitterDeps, deadlineMs: number) {
    this.#deps = deps;
    this.#deadlineMs = deadlineMs;
  }

  /** Sends `submission`; `onOutcome` is called exactly once and must not throw. */
  submit(
    submission: Submission,
    onOutcome: (outcome: SubmitOutcome) => void,
    signal?: AbortSignal,
  ): void {
    const deadline = this.#deps.clock.elapsed() + this.#deadlineMs;
    const onEnd = (outcome: SubmitOutcome): void => {
      this.#onTheWay.delete(attempt);
      onOutcome(outcome);
    };
    const attempt = new Try(this.#deps, submission, { deadline, onEnd });
    this.#onTheWay.add(attempt);
    attempt.start(signal);
  }

  /** Sends again all that is on its way: what a lost link took along is answered by nobody. */
  sendAgain(): void {
    for (const attempt of this.#onTheWay) attempt.send();
  }
}

interface TryOptions {
  readonly deadline: number;
  readonly onEnd: (outcome: SubmitOutcome) => void;
}

/** One submission on its way. No promise is made unless it has to be sent again. */
class Try {
  readonly #deps: SubmitterDeps;
  readonly #submission: Submission;
  readonly #options: TryOptions;
  readonly #stop = new AbortController();
  #release: readonly (() => void)[] = [];
  #sent = 0;
  #failures = 0;
  #done = false;

  constructor(deps: SubmitterDeps, submission: Submission, options: TryOptions) {
    this.#deps = deps;
    this.#submission = submission;
    this.#options = options;
  }

  start(signal: AbortSignal | undefined): void {
    this.#release = [
      this.#deps.denials.watch(this.#submission.subject, (message) =>
        this.#fail("denied", `this user may not submit: ${message}`),
      ),
      onAbort(signal, () => this.#fail("aborted", "the submit was aborted; it may be stored")),
    ];
    if (this.#done) this.#letGo();
    else this.send();
  }

  send(): void {
    if (this.#done) return;
    const { subject, body, headers } = this.#submission;
    const remaining = this.#options.deadline - this.#deps.clock.elapsed();
    const timeoutMs = Math.max(1, Math.min(TRY_TIMEOUT_MS, remaining));
    const number = ++this.#sent;
    const onStored = (stored: Stored): void => {
      // Of an earlier sending only the good news counts: the later one is still on its way.
      if (number === this.#sent || stored.kind === "stored") this.#settle(stored);
    };
    try {
      this.#deps.requester.store(subject, body, onStored, { headers, timeoutMs });
    } catch (error) {
      const closed = error instanceof ClosedConnectionError;
      const message = error instanceof Error ? error.message : String(error);
      this.#fail(closed ? "closed" : "refused", message);
    }
  }

  #settle(stored: Stored): void {
    switch (stored.kind) {
      case "stored":
        this.#end({ id: this.#submission.id, duplicate: stored.duplicate });
        break;
      case "refused":
        this.#fail("refused", `the store refused it: ${stored.message} (${stored.code})`);
        break;
      case "conflict":
        this.#fail("refused", "the store refused it: another revision was expected");
        break;
      case "unknown":
        void this.#again(stored.message);
        break;
    }
  }

  async #again(reason: string): Promise<void> {
    if (this.#done) return;
    this.#failures++;
    const { clock, random } = this.#deps;
    const waitMs = backoffMs(REQUEST_BACKOFF, this.#failures, random);
    if (clock.elapsed() + waitMs >= this.#options.deadline) {
      const tries = this.#failures === 1 ? "1 try" : `${this.#failures} tries`;
      return this.#fail("unavailable", `not known to be stored after ${tries}: ${reason}`);
    }
    const sent = this.#sent;
    await clock.sleep(waitMs, this.#stop.signal);
    if (sent === this.#sent) this.send();
  }

  #fail(code: SubmitError["code"], message: string): void {
    this.#end(new SubmitError(code, message, this.#submission.id));
  }

  #end(outcome: SubmitOutcome): void {
    if (this.#done) return;
    this.#done = true;
    this.#letGo();
    this.#options.onEnd(outcome);
  }

  #letGo(): void {
    if (this.#failures > 0) this.#stop.abort();
    for (const release of this.#release) release();
  }
}
