/**
 * What every node may know of the mesh, and its hash.
 *
 * Each node asks every few seconds whether it is behind. With a thousand nodes the answer is a few
 * hundred kilobytes, so it is made again only when a record has changed.
 */
import { createHash } from "node:crypto";
import { encode, type MeshState, type SyncAnswer } from "@swarm-mesh/protocol";
import type { Fleet } from "./fleet.ts";

export class Snapshot {
  readonly #leader: MeshState["leader"];
  readonly #fleet: Fleet;
  #made: { readonly version: number; readonly hash: string; readonly state: MeshState } | undefined;

  constructor(leader: MeshState["leader"], fleet: Fleet) {
    this.#leader = leader;
    this.#fleet = fleet;
  }

  /** The answer for a node that has the state with this hash; `""`: it has none. */
  answer(known: string): SyncAnswer {
    const { version } = this.#fleet;
    if (this.#made?.version !== version) {
      const state = this.#state();
      const hash = createHash("sha256").update(encode(state)).digest("hex");
      this.#made = { version, hash, state };
    }
    const { hash, state } = this.#made;
    return known === hash ? { same: true, hash } : { same: false, hash, state };
  }

  /** In an order that gives the same hash for the same facts. */
  #state(): MeshState {
    const nodes = this.#fleet
      .records()
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .map(({ id, incarnation, state, capabilities, labels, slots }) => ({
        id,
        incarnation,
        state,
        capabilities,
        labels,
        slots,
      }));
    return { leader: this.#leader, nodes };
  }
}
