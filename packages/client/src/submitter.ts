/**
 * Sends submits until they are stored: one id, as many tries as the deadline allows.
 *
 * A try that was not answered may have been stored. The next one carries the same `Nats-Msg-Id`, and
 * the stream, or later the task's record, makes both the same task.
 */
import { endSpan, type Requester, type Stored } from "@swarm-mesh/bus";
import { backoffMs, type Clock, type Random, REQUEST_BACKOFF } from "@swarm-mesh/runtime";
import { ClosedConnectionError } from "nats";
import { onAbort } from "./abort.ts";
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
  readonly clock: Clock;
  readonly random: Random;
  /** How long a submit is tried, in milliseconds. */
  readonly deadlineMs: number;
}

/** How long one try may take. Two fit into the pause of a store that elects a leader. */
const TRY_TIMEOUT_MS = 4_000;

export class Submitter {
  readonly #deps: SubmitterDeps;
  readonly #onTheWay: Underway[] = [];

  constructor(deps: SubmitterDeps) {
    this.#deps = deps;
  }

  /**
   * Sends `submission`; `onOutcome` is called exactly once, unless the result is dropped before, and
   * must not throw.
   */
  submit(
    submission: Submission,
    onOutcome: (outcome: SubmitOutcome) => void,
    signal?: AbortSignal,
  ): Underway {
    const underway = new Underway(this.#deps, submission, { all: this.#onTheWay, onOutcome });
    underway.start(signal);
    return underway;
  }

  /** Sends again all that is on its way: what a lost link took along is answered by nobody. */
  sendAgain(): void {
    // Whoever cannot be sent leaves its place to another, hence a copy.
    for (const underway of [...this.#onTheWay]) underway.send();
  }

  /** The server forbids this user to publish on `subject`. */
  denied(subject: string, message: string): void {
    for (const underway of [...this.#onTheWay]) {
      if (underway.subject === subject) underway.denied(message);
    }
  }
}

interface UnderwayOptions {
  /** Those on their way, in no order; this one among them until it ends. */
  readonly all: Underway[];
  readonly onOutcome: (outcome: SubmitOutcome) => void;
}

/** One submission on its way. No promise or timer is made unless it has to be sent again. */
export class Underway {
  readonly #deps: SubmitterDeps;
  readonly #submission: Submission;
  readonly #options: UnderwayOptions;
  readonly #deadline: number;
  #stopListening: (() => void) | undefined;
  /** Ends the pause before it is sent again; there is none before the first failure. */
  #pause: AbortController | undefined;
  /** Where it is among those on their way. */
  #place: number;
  #sent = 0;
  #failures = 0;
  #done = false;

  constructor(deps: SubmitterDeps, submission: Submission, options: UnderwayOptions) {
    this.#deps = deps;
    this.#submission = submission;
    this.#options = options;
    this.#deadline = deps.clock.elapsed() + deps.deadlineMs;
    this.#place = options.all.push(this) - 1;
  }

  get subject(): string {
    return this.#submission.subject;
  }

  start(signal: AbortSignal | undefined): void {
    if (signal !== undefined) {
      this.#stopListening = onAbort(signal, () =>
        this.#fail("aborted", "the submit was aborted; it may be stored"),
      );
    }
    this.send();
  }

  send(): void {
    if (this.#done) return;
    const { subject, body, headers } = this.#submission;
    const remaining = this.#deadline - this.#deps.clock.elapsed();
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

  denied(message: string): void {
    this.#fail("denied", `this user may not submit: ${message}`);
  }

  /** Its outcome is of no interest any more: it is not sent again. */
  drop(problem?: string): void {
    if (this.#done) return;
    this.#done = true;
    const { all } = this.#options;
    const last = all.pop();
    if (last !== undefined && last !== this) {
      all[this.#place] = last;
      last.#place = this.#place;
    }
    this.#stopListening?.();
    this.#pause?.abort();
    endSpan(this.#submission.span, problem);
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
    if (clock.elapsed() + waitMs >= this.#deadline) {
      const tries = this.#failures === 1 ? "1 try" : `${this.#failures} tries`;
      return this.#fail(
        "unavailable",
        `not known to be stored after ${tries}: ${reason}; submitted again with the id ` +
          `${this.#submission.id} it is the same task`,
      );
    }
    const sent = this.#sent;
    this.#pause ??= new AbortController();
    await clock.sleep(waitMs, this.#pause.signal);
    if (sent === this.#sent) this.send();
  }

  #fail(code: SubmitError["code"], message: string): void {
    this.#end(new SubmitError(code, message, this.#submission.id));
  }

  #end(outcome: SubmitOutcome): void {
    if (this.#done) return;
    this.drop(outcome instanceof SubmitError ? outcome.code : undefined);
    this.#options.onOutcome(outcome);
  }
}
