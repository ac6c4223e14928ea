import { latch } from "@swarm-mesh/runtime";
import { test as base, type Deps } from "@swarm-mesh/testkit";
import { MeshNode, type MeshNodeOptions } from "../src/mod.ts";
import { ControlPlane } from "./control-plane.ts";

export interface Mesh {
  readonly plane: ControlPlane;
  readonly deps: Deps;
  /** A node of this test's own, stopped when the test is over. */
  readonly node: (options?: Partial<MeshNodeOptions>) => MeshNode;
}

/** Vitest's `test` with a control plane and nodes to go with it. */
export const test = base.extend<{ mesh: Mesh }>({
  mesh: async ({ deps, server, nc }, use) => {
    const nodes: MeshNode[] = [];
    await use({
      plane: new ControlPlane(nc, "n1"),
      deps,
      node: (options = {}) => {
        const node = new MeshNode({ id: "n1", servers: server.url, slots: 4, ...options });
        nodes.push(node);
        return node;
      },
    });
    await Promise.all(nodes.map((node) => node.stop()));
  },
});

/** Resolves when `signal` aborts, with the code of its reason. */
export function abortCode(signal: AbortSignal): Promise<string> {
  const { promise, resolve } = latch<string>();
  const tell = (): void => resolve((signal.reason as { code: string }).code);
  if (signal.aborted) tell();
  signal.addEventListener("abort", tell, { once: true });
  return promise;
}
