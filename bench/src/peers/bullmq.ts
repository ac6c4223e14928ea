/** BullMQ on a Redis of its own, set up as its documentation recommends. */
import { connect } from "node:net";
import type { ProcessRef } from "../cpu.ts";
import {
  freePort,
  Scope,
  type ServerProcess,
  startServer,
  stopAll,
  WorkerProcess,
} from "../processes.ts";
import type { LoadOrder, LoadResult } from "../workers/load.ts";
import type { Peer, PeerOptions } from "./peer.ts";

/** Settings of a BullMQ worker for jobs whose worker is gone; its defaults when left out. */
export interface StallSettings {
  readonly lockDuration?: number;
  readonly stalledInterval?: number;
  readonly maxStalledCount?: number;
}

export class BullmqPeer implements Peer {
  readonly name = "bullmq";
  readonly port: number;
  readonly client: WorkerProcess;
  readonly #scope: Scope;
  readonly #signal: AbortSignal;
  readonly #redis: ServerProcess;
  #workers: readonly WorkerProcess[] = [];

  private constructor(parts: {
    port: number;
    scope: Scope;
    redis: ServerProcess;
    client: WorkerProcess;
    signal: AbortSignal;
  }) {
    this.port = parts.port;
    this.#scope = parts.scope;
    this.#redis = parts.redis;
    this.client = parts.client;
    this.#signal = parts.signal;
  }

  /** Starts Redis and a client; no worker yet. */
  static async start({ durability, signal }: PeerOptions): Promise<BullmqPeer> {
    signal.throwIfAborted();
    const scope = new Scope();
    try {
      const dir = await scope.directory("redis");
      const port = await freePort();
      const redis = await startServer(
        "redis-server",
        [
          ...["--port", String(port), "--bind", "127.0.0.1", "--dir", dir, "--save", ""],
          ...[
            "--appendonly",
            "yes",
            "--appendfsync",
            durability === "always" ? "always" : "everysec",
          ],
        ],
        { cwd: dir, isReady: () => answersPing(port) },
      );
      scope.add(() => redis.stop());
      const client = await WorkerProcess.start("bullmq-client", { setup: { port }, signal });
      scope.add(() => client.stop());
      return new BullmqPeer({ port, scope, redis, client, signal });
    } catch (error) {
      await scope.close();
      throw error;
    }
  }

  get processes(): readonly ProcessRef[] {
    return [
      { role: "client", name: "client", pid: this.client.pid },
      { role: "server", name: "redis-server", pid: this.#redis.pid },
      ...this.#workers.map(({ name, pid }): ProcessRef => ({ role: "node", name, pid })),
    ];
  }

  async setNodes(count: number, slots: number): Promise<void> {
    await stopAll(this.#workers);
    this.#workers = await Promise.all(Array.from({ length: count }, () => this.startWorker(slots)));
  }

  /** Starts a worker; resolves when it waits for jobs. */
  startWorker(concurrency: number, stall: StallSettings = {}): Promise<WorkerProcess> {
    const setup = { port: this.port, concurrency, stall };
    return WorkerProcess.start("bullmq-worker", { setup, signal: this.#signal });
  }

  run(order: LoadOrder): Promise<LoadResult> {
    return this.client.call<LoadResult>("run", order);
  }

  countDone(): Promise<number> {
    return this.client.call<number>("countDone");
  }

  async stop(): Promise<void> {
    await stopAll(this.#workers);
    await this.#scope.close();
  }
}

/** Whether a Redis answers there yet. */
function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\n"));
    socket.once("data", (data) => {
      socket.destroy();
      resolve(data.toString().startsWith("+PONG"));
    });
    socket.once("error", () => resolve(false));
  });
}
