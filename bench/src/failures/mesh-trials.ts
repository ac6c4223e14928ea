/** The mesh with its default settings: how long until what a process held runs elsewhere. */
import { ask, Bucket, openManager, Requester } from "@swarm-mesh/bus";
import {
  decode,
  LEASES_BUCKET,
  LeaderLease,
  leaderLeaseKey,
  SyncAnswer,
  syncSubject,
} from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";
import { Fleet } from "../growth/fleet.ts";
import { MeshPeer } from "../peers/mesh.ts";
import type { WorkerProcess } from "../processes.ts";
import { until } from "../until.ts";
import { Held } from "./held.ts";

/** What is done to the node that holds tasks. */
export type NodeEnd = "kill" | "freeze" | "drain";

/**
 * Nodes that nothing happens to. Trials follow each other within seconds: in a mesh of two nodes the
 * health-monitor would take that for the loss of more than half of it, and wait (brake).
 */
const BYSTANDERS = 20;
/** How long one look for living coordinators takes. */
const LOOK_MS = 250;
const ASK_TIMEOUT_MS = 1_000;

export class MeshTrials {
  readonly #peer: MeshPeer;
  readonly #signal: AbortSignal;
  readonly #admin: NatsConnection;
  readonly #requester: Requester;
  readonly #leases: Bucket;
  readonly #survivor: WorkerProcess;
  readonly #heldBySurvivor: Held;
  #victims = 0;

  private constructor(parts: {
    peer: MeshPeer;
    signal: AbortSignal;
    admin: NatsConnection;
    leases: Bucket;
    requester: Requester;
    survivor: WorkerProcess;
  }) {
    this.#peer = parts.peer;
    this.#signal = parts.signal;
    this.#admin = parts.admin;
    this.#requester = parts.requester;
    this.#leases = parts.leases;
    this.#survivor = parts.survivor;
    this.#heldBySurvivor = new Held(parts.survivor);
  }

  /** A mesh with one node, which survives, and keys for as many as will not. */
  static async start(options: {
    readonly signal: AbortSignal;
    readonly slots: number;
    readonly victims: number;
  }): Promise<MeshTrials> {
    const { signal, slots, victims } = options;
    const peer = await MeshPeer.start({ durability: "second", signal });
    try {
      await peer.addKeys(Array.from({ length: victims }, (_, index) => `victim-${index + 1}`));
      await peer.setNodes(1, slots);
      const [survivor] = peer.nodes;
      if (survivor === undefined) throw new Error("no node has started");
      await Fleet.join(peer, {
        prefix: "bystander",
        count: BYSTANDERS,
        slots: 1,
        capabilities: ["idle"],
        signal,
      });
      const admin = await peer.mesh.connect("admin");
      const requester = new Requester(admin, { inboxPrefix: "_INBOX_admin" });
      const leases = new Bucket(LEASES_BUCKET, await openManager(admin), requester);
      return new MeshTrials({ peer, signal, admin, requester, leases, survivor });
    } catch (error) {
      await peer.stop();
      throw error;
    }
  }

  /** Milliseconds from what is done to the node until the other one runs all it held. */
  async node(end: NodeEnd, tasks: number): Promise<number> {
    const id = `victim-${++this.#victims}`;
    const victim = await this.#peer.startNode(id, tasks);
    try {
      await this.#known(id);
      const held = new Held(victim);
      const ids = await this.#peer.client.call<string[]>("hold", { count: tasks, nodeId: id });
      await held.all(ids, this.#signal);
      const startedAt = systemClock.elapsed();
      if (end === "drain") void victim.call("drain").catch(() => undefined);
      else victim.kill(end === "kill" ? "SIGKILL" : "SIGSTOP");
      await this.#heldBySurvivor.all(ids, this.#signal);
      const tookMs = systemClock.elapsed() - startedAt;
      await this.#survivor.call("release");
      return tookMs;
    } finally {
      if (end !== "drain") victim.kill("SIGKILL");
      await victim.stop();
    }
  }

  /** Milliseconds from the death of the leader until a task submitted right then has its result. */
  async coordinator(): Promise<number> {
    this.#peer.mesh.startService("coordinator");
    await until(
      "two coordinators answer",
      async () => (await this.#coordinators()) >= 2,
      this.#signal,
    );
    const entry = await this.#leases.read(leaderLeaseKey("coordinator"));
    const lease = entry?.value === undefined ? undefined : decode(LeaderLease, entry.value);
    if (lease?.ok !== true) throw new Error("no coordinator leads");
    const startedAt = systemClock.elapsed();
    process.kill(lease.value.pid, "SIGKILL");
    await this.#peer.client.call("once");
    return systemClock.elapsed() - startedAt;
  }

  stop(): Promise<void> {
    return this.#peer.stop();
  }

  /** Waits until the leader knows of the node: it has joined, but only then is preferred. */
  async #known(nodeId: string): Promise<void> {
    const subject = syncSubject(nodeId);
    const options = { timeoutMs: ASK_TIMEOUT_MS };
    await until(
      `${nodeId} is known to the leader`,
      async () => {
        const answer = await ask(this.#requester, subject, { hash: "" }, SyncAnswer, options);
        const nodes = answer.kind === "ok" && !answer.value.same ? answer.value.state.nodes : [];
        return nodes.some(({ id, state }) => id === nodeId && state === "ACTIVE");
      },
      this.#signal,
    );
  }

  async #coordinators(): Promise<number> {
    let count = 0;
    const answers = await this.#admin.requestMany("$SRV.PING.coordinator", "", {
      strategy: "timer",
      maxWait: LOOK_MS,
    });
    for await (const _answer of answers) count++;
    return count;
  }
}
