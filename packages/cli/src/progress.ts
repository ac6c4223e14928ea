/** How far a long command has come: a line on standard error that is written over, for people alone. */
import { type Clock, systemClock } from "@swarm-mesh/runtime";
import type { Io } from "./io.ts";
import type { Format } from "./output.ts";

/** What ends sooner than this needs no bar, ms. */
const SHOWN_AFTER_MS = 1_000;
/** Between two pictures, ms. */
const REDRAW_MS = 100;
const BAR_WIDTH = 24;
/** Back to the line's start, and clears it. */
const CLEAR = "\r\u001b[K";

/** How far it has come. */
export interface Reached {
  readonly done: number;
  /** Of how many; `undefined`: nobody knows. */
  readonly total?: number | undefined;
  /** What else there is to say: `3 failed`. */
  readonly note?: string;
}

/** Shows a {@link Reached} now and then, from the first second on; nothing but at a terminal. */
export class Progress {
  readonly #io: Pick<Io, "err" | "errTerminal">;
  readonly #what: string;
  readonly #shows: boolean;
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  #drawnAtMs = Number.NEGATIVE_INFINITY;

  /** `what` it is that is done, in a word or two: `retried`. */
  constructor(
    io: Pick<Io, "err" | "errTerminal">,
    format: Format,
    what: string,
    clock: Clock = systemClock,
  ) {
    this.#io = io;
    this.#what = what;
    this.#clock = clock;
    this.#startedAtMs = clock.elapsed();
    this.#shows = io.errTerminal && format === "table";
  }

  /** Call it at every step: it draws only as often as anyone can read. */
  tell(reached: Reached): void {
    if (!this.#shows) return;
    const now = this.#clock.elapsed();
    if (now - this.#startedAtMs < SHOWN_AFTER_MS || now - this.#drawnAtMs < REDRAW_MS) return;
    this.#drawnAtMs = now;
    this.#io.err(`${CLEAR}${progressLine(this.#what, reached, now - this.#startedAtMs)}`);
  }

  /** Takes the line away. Call it before anything else is printed. A repeat does nothing. */
  clear(): void {
    if (this.#drawnAtMs === Number.NEGATIVE_INFINITY) return;
    this.#io.err(CLEAR);
    this.#drawnAtMs = Number.NEGATIVE_INFINITY;
  }
}

/** `[#########---------------]  38 % 380 of 1000 retried, 50/s, 12s left`. */
export function progressLine(
  what: string,
  { done, total, note }: Reached,
  elapsedMs: number,
): string {
  const perSecond = elapsedMs > 0 ? (done * 1_000) / elapsedMs : 0;
  const rate = `${perSecond >= 10 ? Math.round(perSecond) : perSecond.toFixed(1)}/s`;
  const more = note === undefined || note === "" ? "" : `, ${note}`;
  if (total === undefined || total <= 0) return `${done} ${what}, ${rate}${more}`;
  const share = Math.min(1, done / total);
  const filled = Math.round(share * BAR_WIDTH);
  const bar = `[${"#".repeat(filled)}${"-".repeat(BAR_WIDTH - filled)}]`;
  const percent = `${Math.floor(share * 100)}`.padStart(3);
  const left = perSecond > 0 ? `, ${Math.ceil((total - done) / perSecond)}s left` : "";
  return `${bar} ${percent} % ${done} of ${total} ${what}, ${rate}${left}${more}`;
}
