/** The services a command line asks, and one node, in this process and on a real server. */
import { coordinator } from "@swarm-mesh/coordinator";
import { FinalError, MeshNode } from "@swarm-mesh/node";
import { createLogger } from "@swarm-mesh/process";
import { registry } from "@swarm-mesh/registry";
import { latch } from "@swarm-mesh/runtime";
import type { Deps, Fixtures } from "@swarm-mesh/testkit";
import { expect } from "vitest";
import { run } from "../src/main.ts";
import { FakeIo } from "./fake-io.ts";

interface Parts {
  readonly deps: Deps;
  readonly server: Fixtures["server"];
  readonly run: Fixtures["run"];
}

export class SmallMesh {
  readonly url: string;

  private constructor(url: string) {
    this.url = url;
  }

  /** Registry, coordinator and node n1, which can echo, fail and wait. */
  static async start(parts: Parts): Promise<SmallMesh> {
    const log = createLogger({ service: "test", instance: "test", level: "silent" });
    for (const service of ["registry", "coordinator"] as const) {
      const ready = latch<void>();
      const deps = { ...parts.deps, log, ready: () => ready.resolve() };
      parts.run((signal) =>
        service === "registry"
          ? registry.run(registry.config.parse({}), deps, signal)
          : coordinator.run(coordinator.config.parse({}), deps, signal),
      );
      await ready.promise;
    }
    const joined = latch<void>();
    parts.run((signal) => runNode(parts.server.url, signal, () => joined.resolve()));
    await joined.promise;
    return new SmallMesh(parts.server.url);
  }

  /** Runs a command line against this mesh. */
  async swarmctl(args: readonly string[], io = new FakeIo()): Promise<Ran> {
    const status = await run(["--server", this.url, ...args], io);
    return { status, stdout: io.stdout, stderr: io.stderr };
  }

  /** Runs a command that must succeed, and reads the JSON it prints. */
  async json(...args: readonly string[]): Promise<unknown> {
    const { status, stdout, stderr } = await this.swarmctl([...args, "-o", "json"]);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    return JSON.parse(stdout);
  }
}

export interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function runNode(url: string, signal: AbortSignal, onReady: () => void): Promise<void> {
  const node = new MeshNode({ id: "n1", servers: url, slots: 2, labels: { zone: "eu" } })
    .handle("echo", (input) => input ?? null)
    .handle("fail", () => {
      throw new FinalError("disk full", { code: "disk_full" });
    })
    .handle("hang", (_input, context) => {
      context.progress({ reached: 1 });
      return new Promise((_resolve, reject) => {
        context.signal.addEventListener("abort", () => reject(context.signal.reason));
      });
    });
  await node.start();
  onReady();
  const stop = (): void => void node.stop();
  signal.addEventListener("abort", stop, { once: true });
  await node.closed;
}
