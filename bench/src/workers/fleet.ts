/** Hundreds of nodes in one process, each with a connection of its own. */
import { readFile } from "node:fs/promises";
import { FakeNode } from "./fake-node.ts";
import { serveParent } from "./serve.ts";

interface Setup {
  readonly url: string;
  readonly slots: number;
  readonly capabilities: readonly string[];
  readonly nodes: readonly { readonly id: string; readonly seedPath: string }[];
}

/** What a fleet has done and has. */
export interface FleetCounts {
  /** Tasks that ended. */
  readonly done: number;
  /** Tasks that are held. */
  readonly held: number;
  /** Leases that were lost: on a machine that is up to its load there are none. */
  readonly lost: number;
}

/** How many join at once: more only wait for each other. */
const JOINING_MAX = 16;

serveParent(async ({ url, slots, capabilities, nodes }: Setup) => {
  const fleet: FakeNode[] = [];
  const waiting = [...nodes];
  const lane = async (): Promise<void> => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const seed = Buffer.from((await readFile(next.seedPath, "utf8")).trim());
      fleet.push(await FakeNode.join({ id: next.id, url, seed, slots, capabilities }));
    }
  };
  await Promise.all(Array.from({ length: JOINING_MAX }, lane));
  return {
    counts: () => sum(fleet),
    leave: async () => {
      await Promise.all(fleet.map((node) => node.leave()));
    },
    close: () => {
      for (const node of fleet) node.close();
    },
  };
});

function sum(fleet: readonly FakeNode[]): FleetCounts {
  return fleet
    .map(({ counts }) => counts)
    .reduce(
      (all, { done, held, lost }) => ({
        done: all.done + done,
        held: all.held + held,
        lost: all.lost + lost,
      }),
      { done: 0, held: 0, lost: 0 },
    );
}
