/** Runs of several peers, looked at by peer and beside each other. */
import type { Run } from "./measure.ts";
import type { PeerName } from "./peers/peer.ts";
import { median, roundRatio } from "./stats.ts";

/** Runs of one case, round after round. */
export class Runs {
  readonly #runs: Run[] = [];

  add(run: Run): void {
    this.#runs.push(run);
  }

  /** Those of one peer, in the order of the rounds. */
  of(peer: PeerName): readonly Run[] {
    return this.#runs.filter((run) => run.peer === peer);
  }

  /** A figure of each round. */
  values(peer: PeerName, figure: (run: Run) => number): readonly number[] {
    return this.of(peer).map(figure);
  }

  /** The median over the rounds; `undefined` for a peer that did not run, or has no such figure. */
  median(peer: PeerName, figure: (run: Run) => number | undefined): number | undefined {
    const values = this.of(peer).flatMap((run) => figure(run) ?? []);
    return values.length === 0 ? undefined : median(values);
  }

  /** A figure of one peer to that of another, round by round; `undefined` without the other. */
  ratio(peer: PeerName, other: PeerName, figure: (run: Run) => number): number | undefined {
    if (this.of(peer).length === 0 || this.of(other).length === 0) return undefined;
    return roundRatio(this.values(peer, figure), this.values(other, figure));
  }
}
