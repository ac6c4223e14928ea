/**
 * A simulated coordinator. What leads is the coordinator's own {@link Term}, with all that it is made
 * of. Simulated is the replica around it, as services/coordinator/src/service.ts has it: it follows
 * the fleet at all times, and leads when it has the lease.
 */
import { Lease } from "@swarm-mesh/bus";
import {
  encode,
  LEASES_BUCKET,
  type LeaderLease,
  leaderLeaseKey,
  type NodeLease,
  type NodeRecord,
} from "@swarm-mesh/protocol";
import { aborted, Meters } from "@swarm-mesh/runtime";
import type { Audits } from "../../services/coordinator/src/auditor.ts";
import { Config } from "../../services/coordinator/src/config.ts";
import { Fleet } from "../../services/coordinator/src/fleet.ts";
import { decideLease, type LeaseEntry } from "../../services/coordinator/src/leadership.ts";
import { CoordinatorMeters } from "../../services/coordinator/src/meters.ts";
import { Term } from "../../services/coordinator/src/term.ts";
import { termDeps } from "./library.ts";
import { bytesOf } from "./mail.ts";
import { View } from "./view.ts";
import { Host, type World } from "./world.ts";

/** The audit trail is nobody's decision: it is left out, and its writes do not lengthen every run. */
const SILENT: Audits = {
  submitted: () => undefined,
  cancelled: () => undefined,
  run: (signal) => aborted(signal),
};

const LEASE_KEY = leaderLeaseKey("coordinator");
const NODE_PREFIX = "node.";
const READ_TIMEOUT_MS = 2_000;
const ALIVE_TIMEOUT_MS = 500;

export class Coordinator {
  readonly host: Host;
  readonly #config: Config;
  #replica: Replica | undefined;

  constructor(world: World, name: string) {
    const { leaderLeaseTtlMs, orphanAfterMs } = world.plan;
    this.#config = Config.parse({ leaderLeaseTtlMs, orphanAfterMs });
    this.host = new Host(world, name, (host) => {
      this.#replica = new Replica(host, this.#config);
    });
  }

  /** Does it believe now that it leads? */
  get believes(): boolean {
    return this.#living?.believes === true;
  }

  /**
   * Would what it does now have an effect? The server's word that its connection is closed lets another
   * lead at once; what it still writes then goes nowhere.
   */
  get isHeard(): boolean {
    return !this.host.process.frozen && this.host.link.session?.alive === true;
  }

  get fleet(): Fleet | undefined {
    return this.#living?.fleet;
  }

  /** What the process runs now; not what its life before left behind. */
  get #living(): Replica | undefined {
    const { process } = this.host;
    return process.alive && this.#replica?.start === process.starts ? this.#replica : undefined;
  }
}

class Replica {
  readonly fleet: Fleet;
  /** The start of the process that this belongs to. */
  readonly start: number;
  readonly #host: Host;
  readonly #config: Config;
  readonly #leases: View<NodeLease>;
  readonly #nodes: View<NodeRecord>;
  readonly #onFree: { listener: ((capabilities: readonly string[]) => void) | undefined } = {
    listener: undefined,
  };
  #lease: Lease | undefined;
  #term: Term | undefined;
  #epoch = 0;
  #attempting = false;
  #rung = false;

  constructor(host: Host, config: Config) {
    this.#host = host;
    this.start = host.process.starts;
    this.#config = config;
    const { store } = host.world;
    this.fleet = new Fleet((capabilities) => this.#onFree.listener?.(capabilities));
    this.#leases = new View<NodeLease>(host.link, host.requester, store.leases, {
      change: ({ key, after }) => this.#onLease(key, after),
    });
    this.#nodes = new View<NodeRecord>(host.link, host.requester, store.nodes, {
      change: ({ key, after }) => {
        this.fleet.hearRecord(key, after, this.#leases.get(NODE_PREFIX + key));
      },
    });
    this.#leases.start();
    this.#nodes.start();
    host.link.subscribe(`alive.${host.name}`, (mail) => mail.respond({ epoch: this.#epoch }));
    // A process of a node is called as the node is.
    host.link.subscribe("disconnect", (mail) => this.#onDisconnect(String(mail.body)));
    host.link.onLink((up) => {
      if (up) this.#ring();
      else this.#lease?.drop();
    });
    this.#ring();
    host.process.every(host.world.plan.leaderLeaseTtlMs / 3, () => this.#ring());
  }

  get believes(): boolean {
    return this.#term !== undefined && this.#lease?.trusted() === true;
  }

  #onDisconnect(name: string): void {
    if (this.#lease === undefined && name.startsWith("coordinator")) this.#ring();
    this.#term?.onDisconnect(name);
  }

  /** Looks at the lease soon. */
  #ring(): void {
    if (this.#rung || this.#attempting) return;
    this.#rung = true;
    this.#host.process.after(this.#nodes.current && this.#leases.current ? 0 : 20, () => {
      this.#rung = false;
      if (!this.#nodes.current || !this.#leases.current) {
        this.#ring();
        return;
      }
      this.#attempting = true;
      this.#host.spawn(
        this.#attempt().finally(() => {
          this.#attempting = false;
        }),
      );
    });
  }

  async #attempt(): Promise<void> {
    const read = await this.#read();
    if (read === undefined) return;
    let decision = decideLease(read.entry, this.#host.name, undefined);
    if (decision.kind === "follow" && (await this.#isDead(decision.leader.instance))) {
      decision = decideLease(read.entry, this.#host.name, decision.leader.instance);
    }
    if (decision.kind === "follow") return;
    this.#epoch = 0;
    const lease = this.#makeLease();
    const granted = await lease.grant(decision.expected);
    if (granted.kind !== "stored") return;
    this.#epoch = granted.revision;
    this.#lease = lease;
    await this.#lead(lease, granted.revision);
    this.#lease = undefined;
    this.#attempting = false;
    this.#ring();
  }

  async #lead(lease: Lease, epoch: number): Promise<void> {
    const host = this.#host;
    host.note("leads", epoch);
    this.fleet.reset();
    const ended = new AbortController();
    host.endings.push(ended);
    const term = new Term({
      config: this.#config,
      deps: termDeps(host),
      meters: new CoordinatorMeters(new Meters()),
      epoch,
      fleet: this.fleet,
      trusted: () => lease.trusted() && !ended.signal.aborted,
      auditor: () => SILENT,
      onFree: this.#onFree,
    });
    this.#term = term;
    try {
      await Promise.all([
        term.run(ended.signal).finally(() => ended.abort()),
        this.#keep(lease, ended.signal).finally(() => ended.abort()),
      ]);
    } catch (error) {
      // The store did not answer while the term took over: the next one tries again.
      host.note("term broke off", String(error));
    } finally {
      host.note("leads no more");
      this.#term = undefined;
      await lease.revoke();
    }
  }

  /** Renews the lease; resolves when it is lost or no longer to be trusted. */
  async #keep(lease: Lease, over: AbortSignal): Promise<void> {
    const { clock } = this.#host.process;
    let waitMs = lease.renewEveryMs;
    while (!over.aborted) {
      await clock.sleep(Math.max(0, Math.min(waitMs, lease.remainingMs())), over);
      if (over.aborted || !lease.trusted()) return;
      const trustEndsAtMs = clock.elapsed() + lease.remainingMs();
      const result = await lease.renew();
      if (result === "lost" || clock.elapsed() >= trustEndsAtMs) return;
      waitMs = result === "renewed" ? lease.renewEveryMs : 100;
    }
  }

  async #isDead(instance: string): Promise<boolean> {
    const { requester } = this.#host;
    const subject = `mesh.coordinator.alive.${instance}`;
    const reply = await requester.request(subject, {}, { timeoutMs: ALIVE_TIMEOUT_MS });
    return reply.kind === "no-responders";
  }

  #read(): Promise<{ readonly entry: LeaseEntry | undefined } | undefined> {
    const { leases } = this.#host.world.store;
    return this.#host.requester.ask(() => {
      const entry = leases.get(LEASE_KEY);
      if (entry === undefined) return { entry };
      const value = entry.value === undefined ? undefined : bytesOf(entry.value);
      return { entry: { revision: entry.revision, value } };
    }, READ_TIMEOUT_MS);
  }

  #makeLease(): Lease {
    const host = this.#host;
    const { clock } = host.process;
    const value = (): LeaderLease => ({
      instance: host.name,
      pid: host.process.starts,
      host: host.name,
      epoch: this.#epoch,
    });
    return new Lease({
      bucket: LEASES_BUCKET,
      key: LEASE_KEY,
      ttlMs: this.#host.world.plan.leaderLeaseTtlMs,
      requester: host.requester.asRequester,
      clock: host.world.sabotage.leaseClock?.(clock) ?? clock,
      value: () => encode(value()),
      readBack: async () => {
        const read = await this.#read();
        if (read === undefined) throw new Error("the store did not answer");
        const decision = decideLease(read.entry, host.name, undefined);
        const ours = decision.kind === "take" && read.entry?.value !== undefined;
        return { revision: read.entry?.revision ?? 0, ours };
      },
    });
  }

  #onLease(key: string, after: NodeLease | undefined): void {
    if (key === LEASE_KEY && after === undefined) this.#ring();
    if (key.startsWith(NODE_PREFIX)) this.fleet.hearLease(key.slice(NODE_PREFIX.length), after);
  }
}
