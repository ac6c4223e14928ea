/**
 * JetStream alone, as a coordinator design needs it at least: three acknowledged writes and two
 * acknowledged deliveries a task, no records, no accounts, no checks. What no such mesh can beat.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { locateNatsServer, startNatsServer } from "@swarm-mesh/server";
import type { ProcessRef } from "../cpu.ts";
import { Scope, stopAll, WorkerProcess } from "../processes.ts";
import type { LoadOrder, LoadResult } from "../workers/load.ts";
import type { Peer, PeerOptions } from "./peer.ts";

export class RawPeer implements Peer {
  readonly name = "raw";
  readonly #url: string;
  readonly #scope: Scope;
  readonly #signal: AbortSignal;
  readonly #serverPid: number;
  readonly #client: WorkerProcess;
  readonly #coordinator: WorkerProcess;
  #nodes: readonly WorkerProcess[] = [];

  private constructor(parts: {
    url: string;
    scope: Scope;
    signal: AbortSignal;
    serverPid: number;
    client: WorkerProcess;
    coordinator: WorkerProcess;
  }) {
    this.#url = parts.url;
    this.#scope = parts.scope;
    this.#signal = parts.signal;
    this.#serverPid = parts.serverPid;
    this.#client = parts.client;
    this.#coordinator = parts.coordinator;
  }

  /** Starts a server, a coordinator and a client; no node yet. */
  static async start({ durability, signal }: PeerOptions): Promise<RawPeer> {
    signal.throwIfAborted();
    const scope = new Scope();
    try {
      const dir = await scope.directory("raw");
      const conf = join(dir, "nats-server.conf");
      const sync = durability === "always" ? "always" : '"1s"';
      await writeFile(conf, `jetstream { store_dir: ".", sync_interval: ${sync} }\n`);
      const { path: binary } = await locateNatsServer();
      const server = await startNatsServer({ binary, conf, dir });
      scope.add(() => server.stop());
      const setup = { url: server.url };
      const client = await WorkerProcess.start("raw-client", { setup, signal });
      scope.add(() => client.stop());
      const coordinator = await WorkerProcess.start("raw-coordinator", { setup, signal });
      scope.add(() => coordinator.stop());
      const { url, pid: serverPid } = server;
      return new RawPeer({ url, scope, signal, serverPid, client, coordinator });
    } catch (error) {
      await scope.close();
      throw error;
    }
  }

  get processes(): readonly ProcessRef[] {
    return [
      { role: "client", name: "client", pid: this.#client.pid },
      { role: "server", name: "nats-server", pid: this.#serverPid },
      { role: "coordinator", name: "coordinator", pid: this.#coordinator.pid },
      ...this.#nodes.map(({ name, pid }): ProcessRef => ({ role: "node", name, pid })),
    ];
  }

  /** The slots are the client's concurrency: nothing here limits what a node takes. */
  async setNodes(count: number): Promise<void> {
    await stopAll(this.#nodes);
    this.#nodes = await Promise.all(
      Array.from({ length: count }, (_, index) =>
        WorkerProcess.start("raw-node", {
          setup: { url: this.#url, index },
          signal: this.#signal,
        }),
      ),
    );
    await this.#coordinator.call("setNodes", count);
  }

  run(order: LoadOrder): Promise<LoadResult> {
    return this.#client.call<LoadResult>("run", order);
  }

  countDone(): Promise<number> {
    return this.#client.call<number>("countDone");
  }

  async stop(): Promise<void> {
    await stopAll(this.#nodes);
    await this.#scope.close();
  }
}
