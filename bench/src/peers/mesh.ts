/** The mesh as it ships: `swarmctl dev` for server and services, nodes and a client by the SDKs. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { jetstream } from "@nats-io/jetstream";
import { openManager } from "@swarm-mesh/bus";
import { decode, isFinal, kvSubject, TASKS_BUCKET, TaskRecord } from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import { ensureKeys } from "@swarm-mesh/server";
import { Mesh } from "@swarm-mesh/testkit/mesh";
import type { NatsConnection } from "nats";
import type { ProcessRef, Role } from "../cpu.ts";
import { isRunning, stopAll, WorkerProcess } from "../processes.ts";
import { until } from "../until.ts";
import type { LoadOrder, LoadResult } from "../workers/load.ts";
import type { Peer, PeerOptions } from "./peer.ts";

/** A server that reads its configuration anew leaves a dial of these milliseconds without answer. */
const RELOAD_MS = 250;
/** Longer than a reader waits for the next record of those that are stored. */
const READ_EXPIRES_MS = 5_000;
const READ_BATCH = 1_000;
const STREAM = `KV_${TASKS_BUCKET.name}`;

const ROLES: Readonly<Record<string, Role>> = {
  "nats-server": "server",
  coordinator: "coordinator",
};

export class MeshPeer implements Peer {
  readonly name = "mesh";
  readonly mesh: Mesh;
  readonly client: WorkerProcess;
  /** A connection that may do everything. */
  readonly admin: NatsConnection;
  readonly #signal: AbortSignal;
  #nodes: readonly WorkerProcess[] = [];
  #lives = 0;
  #firstRevision = 1;

  private constructor(
    mesh: Mesh,
    parts: { client: WorkerProcess; admin: NatsConnection; signal: AbortSignal },
  ) {
    this.mesh = mesh;
    this.client = parts.client;
    this.admin = parts.admin;
    this.#signal = parts.signal;
  }

  /** Starts server, services and a client; no node yet. */
  static async start({ durability, signal }: PeerOptions): Promise<MeshPeer> {
    signal.throwIfAborted();
    const mesh = await Mesh.start({ nodes: 0 });
    try {
      if (durability === "always") await syncAlways(mesh, signal);
      const setup = { url: mesh.url, seedPath: mesh.key("client") };
      const client = await WorkerProcess.start("mesh-client", { setup, signal });
      return new MeshPeer(mesh, { client, admin: await mesh.connect("admin"), signal });
    } catch (error) {
      await mesh.stop();
      throw error;
    }
  }

  get processes(): readonly ProcessRef[] {
    const services = [...new Set(this.mesh.processes.map(({ name }) => name))].map((name) => {
      const kind = name.replace(/-\d+$/, "");
      return { role: ROLES[kind] ?? "other", name, pid: this.mesh.pid(name) };
    });
    return [
      { role: "client", name: "client", pid: this.client.pid },
      ...services,
      ...this.#nodes.map(({ name, pid }): ProcessRef => ({ role: "node", name, pid })),
    ];
  }

  /** The nodes of the last {@link setNodes}. */
  get nodes(): readonly WorkerProcess[] {
    return this.#nodes;
  }

  async setNodes(count: number, slots: number): Promise<void> {
    await stopAll(this.#nodes);
    this.#lives++;
    const ids = Array.from({ length: count }, (_, index) => `b${this.#lives}-${index + 1}`);
    await this.addKeys(ids);
    this.#nodes = await Promise.all(ids.map((id) => this.startNode(id, slots)));
  }

  /** Counts more processes among the nodes; they are stopped with the mesh. */
  adopt(nodes: readonly WorkerProcess[]): void {
    this.#nodes = [...this.#nodes, ...nodes];
  }

  /** Stops some of the nodes' processes. */
  async dismiss(nodes: readonly WorkerProcess[]): Promise<void> {
    this.#nodes = this.#nodes.filter((node) => !nodes.includes(node));
    await stopAll(nodes);
  }

  /** Lets the server know nodes. */
  async addKeys(ids: readonly string[]): Promise<void> {
    await ensureKeys(this.mesh.dir, { nodes: ids });
    this.mesh.kill("nats-server", "SIGHUP");
    await systemClock.sleep(RELOAD_MS);
  }

  /** Starts a node whose key the server knows; resolves when it has joined. */
  startNode(id: string, slots: number): Promise<WorkerProcess> {
    const setup = { id, slots, url: this.mesh.url, seedPath: this.mesh.key(id) };
    return WorkerProcess.start("mesh-node", { name: id, setup, signal: this.#signal });
  }

  async run(order: LoadOrder): Promise<LoadResult> {
    this.#firstRevision = 1 + (await this.#lastRevision());
    return this.client.call<LoadResult>("run", order);
  }

  /** Reads every record that the last run has written, from the store itself. */
  async countDone(): Promise<number> {
    const last = await this.#lastRevision();
    if (last < this.#firstRevision) return 0;
    const consumer = await jetstream(this.admin, { checkAPI: false }).consumers.get(STREAM, {
      filter_subjects: kvSubject(TASKS_BUCKET.name, ">"),
      deliver_policy: "by_start_sequence",
      opt_start_seq: this.#firstRevision,
    });
    const done = new Set<string>();
    for (let seen = 0; seen < last; ) {
      this.#signal.throwIfAborted();
      const before = seen;
      const messages = await consumer.fetch({ max_messages: READ_BATCH, expires: READ_EXPIRES_MS });
      for await (const message of messages) {
        seen = message.seq;
        const record = decode(TaskRecord, message.data);
        if (!record.ok || !isFinal(record.value.status)) continue;
        if (record.value.status === "succeeded") done.add(record.value.id);
        if (seen >= last) break;
      }
      if (seen === before) break;
    }
    return done.size;
  }

  async stop(): Promise<void> {
    await stopAll([this.client, ...this.#nodes]);
    await this.mesh.stop();
  }

  async #lastRevision(): Promise<number> {
    const manager = await openManager(this.admin);
    return (await manager.streams.info(STREAM)).state.last_seq;
  }
}

/** Starts the server again with a write on the disk before it is acknowledged. */
async function syncAlways(mesh: Mesh, signal: AbortSignal): Promise<void> {
  const path = join(mesh.dir, "nats-server.conf");
  const conf = await readFile(path, "utf8");
  const changed = conf.replace(/sync_interval: "\w+"/, "sync_interval: always");
  if (changed === conf) throw new Error("nats-server.conf has no sync_interval to change");
  const pid = mesh.pid("nats-server");
  mesh.kill("nats-server", "SIGTERM");
  await until("nats-server has ended", () => !isRunning(pid), signal);
  await writeFile(path, changed);
  mesh.startServer();
}
