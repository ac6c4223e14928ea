/** An inquiry: what a suspect was asked, and what came of it. One ping at a time. */

/** `other-life`: somebody answered, but not the life that the record is about. */
export type Unanswered = "no-responders" | "timeout" | "other-life";

/** How a suspect is asked, in milliseconds. */
export interface InquiryLimits {
  readonly graceMs: number;
  readonly recheckMs: number;
}

export class Inquiry {
  /** When the next ping is due. */
  nextAt: number;
  /** When the last ping was sent. */
  askedAt = Number.NEGATIVE_INFINITY;
  /** The ping on its way. */
  serial: number | undefined;
  /** Pings in a row that were not answered. */
  unansweredCount = 0;
  /** The life answered the last ping. */
  answered = false;
  /** When the first reason to ask came. */
  readonly openedAt: number;
  #raisedAt: number;
  #unansweredAt = Number.NEGATIVE_INFINITY;
  /** Since when nobody listens, over all pings in a row. */
  #nobodySince: number | undefined;

  constructor(now: number, nextAt: number) {
    this.openedAt = now;
    this.#raisedAt = now;
    this.nextAt = nextAt;
  }

  /** There is another reason to ask. */
  raise(now: number, nextAt: number): void {
    this.#raisedAt = now;
    this.nextAt = Math.min(this.nextAt, nextAt);
    this.answered = false;
  }

  ask(serial: number, now: number): void {
    this.serial = serial;
    this.askedAt = now;
  }

  /** The life answered. Returns whether that settles all there was to ask. */
  hearAnswer(now: number): boolean {
    this.unansweredCount = 0;
    this.#nobodySince = undefined;
    this.answered = true;
    this.nextAt = now;
    // An answer to an earlier ping may be older than the last reason to ask.
    return this.askedAt >= this.#raisedAt;
  }

  hearNothing(kind: Unanswered, now: number, { graceMs, recheckMs }: InquiryLimits): void {
    this.answered = false;
    this.unansweredCount++;
    this.#unansweredAt = now;
    this.#nobodySince = kind === "no-responders" ? (this.#nobodySince ?? now) : undefined;
    const graceEnds = (this.#nobodySince ?? now) + graceMs;
    const inGrace = graceEnds > now && (this.unansweredCount === 1 || kind === "no-responders");
    this.nextAt = inGrace ? graceEnds : now + recheckMs;
  }

  /** Is there no answer, no ping on its way, and is the last silence recent enough to count? */
  isEvidence(now: number, { recheckMs }: InquiryLimits): boolean {
    if (this.serial !== undefined || this.unansweredCount === 0) return false;
    return now - this.#unansweredAt <= recheckMs;
  }

  /** Did nobody listen, since the last reason to ask, and again after the grace? */
  nobodyTwice({ graceMs }: InquiryLimits): boolean {
    if (this.#nobodySince === undefined || this.unansweredCount < 2) return false;
    return this.#unansweredAt - this.#nobodySince >= graceMs && this.askedAt >= this.#raisedAt;
  }
}
