/**
 * The coordinator: one replica leads and routes every task, the others stand by.
 *
 * It owns the task records and nothing else: a leader that dies leaves messages that are not
 * acknowledged and records that say where each task is, and the next one goes on from those. All
 * replicas answer `get` and `list`; only the leader routes, records, cancels and syncs.
 */
import { hostname } from "node:os";
import {
  answer,
  Bucket,
  BucketView,
  Lease,
  type LeaseOptions,
  leaseRenewals,
  serve,
  watchForgetting,
  watchLink,
} from "@swarm-mesh/bus";
import type { ServiceDefinition, ServiceDeps } from "@swarm-mesh/process";
import {
  aliveSubject,
  decode,
  encode,
  getSubject,
  LEASES_BUCKET,
  type LeaderLease,
  LIST_SUBJECT,
  leaderLeaseKey,
  leaderLeaseTtlMs,
  NODES_BUCKET,
  NodeLease,
  NodeRecord,
  RUNNING_SUBJECT,
  TASKS_BUCKET,
  VERSION,
} from "@swarm-mesh/protocol";
import { type Counter, type Family, ticks, together, Wakeup, within } from "@swarm-mesh/runtime";
import { announceLeader } from "./announcements.ts";
import { Auditor } from "./auditor.ts";
import { Config } from "./config.ts";
import { hearDisconnects } from "./disconnects.ts";
import { Fleet } from "./fleet.ts";
import { addGauges } from "./gauges.ts";
import { decideLease } from "./leadership.ts";
import { CoordinatorMeters } from "./meters.ts";
import { getTask, listRunning, listTasks } from "./queries.ts";
import { settingsFor } from "./settings.ts";
import { Term } from "./term.ts";

const SERVICE = "coordinator";
const LEASE_KEY = leaderLeaseKey(SERVICE);
const NODE_LEASE_PREFIX = "node.";
/** A store that does not answer is asked again for the lease after this: it may be back. */
const ATTEMPT_AGAIN_MS = 250;
/** How long the lease's holder may take to say that it lives. */
const ALIVE_TIMEOUT_MS = 500;

/** The service as a process runs it. */
export const coordinator: ServiceDefinition<typeof Config> = {
  name: SERVICE,
  config: Config,
  run: runCoordinator,
};

/** Runs until `signal` aborts; a leader gives its lease back first. Rejects only on a bug. */
async function runCoordinator(
  config: Config,
  deps: ServiceDeps,
  signal: AbortSignal,
): Promise<void> {
  const replica = new Replica(config, deps);
  await together(signal, [
    (inner) => replica.watch(inner),
    (inner) => replica.stand(inner),
    (inner) => replica.sayAlive(inner),
    (inner) => replica.hearDisconnects(inner),
    (inner) => replica.followLink(inner),
    (inner) => replica.serve(inner),
  ]);
}

/** One replica: follows the fleet at all times, and leads when it has the lease. */
class Replica {
  readonly #config: Config;
  readonly #deps: ServiceDeps;
  readonly #leaseBucket: Bucket;
  readonly #leases: BucketView<NodeLease | "leader">;
  readonly #nodes: BucketView<NodeRecord>;
  readonly #settings: ReturnType<typeof settingsFor>;
  readonly #fleet: Fleet;
  readonly #meters: CoordinatorMeters;
  readonly #renewals: Family<Counter>;
  readonly #wakeup = new Wakeup();
  readonly #renewNow = new Wakeup();
  readonly #onFree: { listener: ((capabilities: readonly string[]) => void) | undefined } = {
    listener: undefined,
  };
  /** The lease while this replica leads. */
  #lease: Lease | undefined;
  #epoch = 0;
  /** The term while this replica leads. */
  #term: Term | undefined;

  constructor(config: Config, deps: ServiceDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#leaseBucket = new Bucket(LEASES_BUCKET, deps.manager, deps.requester);
    this.#fleet = new Fleet((capabilities) => this.#onFree.listener?.(capabilities));
    this.#meters = new CoordinatorMeters(deps.meters);
    this.#renewals = leaseRenewals(deps.meters);
    addGauges({
      ...deps,
      counted: this.#meters,
      fleet: this.#fleet,
      epoch: () => (this.#term === undefined ? undefined : this.#epoch),
      holding: () => this.#term?.holding,
    });
    this.#leases = new BucketView<NodeLease | "leader">({
      ...deps,
      bucket: LEASES_BUCKET,
      decode: (key, value) =>
        key.startsWith(NODE_LEASE_PREFIX)
          ? decode(NodeLease, value)
          : { ok: true, value: "leader" as const },
      onChange: ({ key, after }) => this.#onLease(key, after),
    });
    this.#nodes = new BucketView({
      ...deps,
      bucket: NODES_BUCKET,
      decode: (_key, value) => decode(NodeRecord, value),
      onChange: ({ key, after }) => this.#fleet.hearRecord(key, after, this.#leaseOf(key)),
    });
    this.#settings = settingsFor(this.#fleet, deps);
  }

  watch(signal: AbortSignal): Promise<void> {
    return together(signal, [
      (inner) => this.#leases.run(inner),
      (inner) => this.#nodes.run(inner),
      (inner) => this.#settings.run(inner),
    ]);
  }

  serve(signal: AbortSignal): Promise<void> {
    const tasks = new Bucket(TASKS_BUCKET, this.#deps.manager, this.#deps.requester);
    const lists = { ...this.#deps, holding: () => this.#term?.holding };
    return serve(this.#deps.nc, {
      name: SERVICE,
      version: VERSION,
      description: "Routes tasks to nodes and keeps their records",
      metadata: { instance: this.#deps.instance },
      endpoints: [
        { name: "get", subject: getSubject("*"), handle: (message) => getTask(tasks, message) },
        {
          name: "list",
          subject: LIST_SUBJECT,
          handle: (message) => listTasks(lists, message),
        },
      ],
      log: this.#deps.log,
      meters: this.#deps.meters,
      signal,
      onListening: () => this.#deps.ready(),
    });
  }

  /** Reaches for the lease whenever it may be free, and leads while it has it. */
  async stand(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    const everyMs = this.#leaseTtlMs() / 3;
    let failures = 0;
    for await (const _ of ticks({ clock, everyMs, wakeup: this.#wakeup, signal })) {
      if (!this.#nodes.current || !this.#leases.current || !this.#settings.current) {
        // A leader that does not know the fleet would take living nodes for gone, and one that does
        // not know the settings would give tasks to nodes that are to have none.
        await clock.sleep(20, signal);
        this.#wakeup.ring();
        continue;
      }
      try {
        const lease = await this.#reach();
        failures = 0;
        if (lease !== undefined) await this.#attempt(lease, signal);
      } catch (error) {
        if (signal.aborted) return;
        // Said once for as long as it lasts; tried on, for nobody rings when the store is back.
        if (++failures === 1) log.warn({ err: error }, "lease not read, trying on");
        await clock.sleep(ATTEMPT_AGAIN_MS, signal);
        this.#wakeup.ring();
      }
    }
  }

  /** Takes the lease if it may be free; rejects when the store does not say whose it is. */
  async #reach(): Promise<Lease | undefined> {
    const { instance } = this.#deps;
    const entry = await this.#leaseBucket.readSoon(LEASE_KEY);
    let decision = decideLease(entry, instance, undefined);
    if (decision.kind === "follow" && (await this.#isDead(decision.leader.instance))) {
      decision = decideLease(entry, instance, decision.leader.instance);
    }
    if (decision.kind === "follow") return undefined;
    this.#epoch = 0;
    const lease = new Lease(this.#leaseOptions());
    const granted = await lease.grant(decision.expected);
    if (granted.kind === "conflict") return undefined;
    if (granted.kind !== "stored") throw new Error(granted.message);
    this.#epoch = granted.revision;
    return lease;
  }

  async #attempt(lease: Lease, signal: AbortSignal): Promise<void> {
    this.#lease = lease;
    try {
      await this.#lead(lease, this.#epoch, signal);
    } finally {
      this.#lease = undefined;
      this.#wakeup.ring();
    }
  }

  /** Leads until the lease is lost or `signal` aborts; then stops acting first and says so second. */
  async #lead(lease: Lease, epoch: number, signal: AbortSignal): Promise<void> {
    const { log } = this.#deps;
    log.info({ epoch }, "leading");
    this.#meters.terms.inc();
    this.#fleet.reset();
    const announced = announceLeader(this.#deps, "elected", epoch);
    const ended = new AbortController();
    const either = AbortSignal.any([signal, ended.signal]);
    const shared = { deps: this.#deps, meters: this.#meters, epoch };
    const term = new Term({
      ...shared,
      config: this.#config,
      fleet: this.#fleet,
      trusted: () => lease.trusted() && !either.aborted,
      auditor: (newestRevision) => new Auditor({ ...shared, newestRevision }),
      onFree: this.#onFree,
    });
    this.#term = term;
    try {
      await Promise.all([
        term.run(either).finally(() => ended.abort()),
        this.#keep(lease, either).finally(() => ended.abort()),
        answer(this.#deps.nc, RUNNING_SUBJECT, (message) => listRunning(term.holding, message), {
          log,
          signal: either,
        }),
      ]);
    } finally {
      this.#term = undefined;
      ended.abort();
      const held = lease.trusted();
      await lease.revoke();
      log.info({ epoch, resigned: held }, "leads no more");
      await announced;
      await announceLeader(this.#deps, held ? "resigned" : "lost", epoch);
    }
  }

  /** Renews the lease; resolves when it is lost or no longer to be trusted. */
  async #keep(lease: Lease, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    let waitMs = lease.renewEveryMs;
    while (!signal.aborted) {
      const sleepMs = Math.max(0, Math.min(waitMs, lease.remainingMs()));
      this.#renewNow.clear();
      await within(signal, (inner) =>
        Promise.race([clock.sleep(sleepMs, inner), this.#renewNow.wait(inner)]),
      );
      if (signal.aborted) return;
      if (!lease.trusted()) {
        log.warn({ epoch: this.#epoch }, "lease ran out");
        return;
      }
      const trustEndsAtMs = clock.elapsed() + lease.remainingMs();
      const result = await lease.renew();
      this.#renewals.of(result).inc();
      if (result === "lost") {
        log.warn({ epoch: this.#epoch }, "lease lost to another");
        return;
      }
      if (clock.elapsed() >= trustEndsAtMs) {
        // Work was given up meanwhile, and nobody takes it up again within this term.
        log.warn({ epoch: this.#epoch }, "lease ran out while it was renewed");
        return;
      }
      // After a renewal that was not answered the next one is due at once, within reason.
      waitMs = result === "renewed" ? lease.renewEveryMs : 100;
    }
  }

  /** Says that this process lives, leading or not. */
  sayAlive(signal: AbortSignal): Promise<void> {
    const { nc, instance, log } = this.#deps;
    return answer(nc, aliveSubject(SERVICE, instance), () => ({ epoch: this.#epoch }), {
      log,
      signal,
    });
  }

  /**
   * Is nobody there by this name? A process that is frozen still has its subscription: it is for its
   * lease to run out.
   */
  async #isDead(instance: string): Promise<boolean> {
    const { requester, log } = this.#deps;
    const reply = await requester.request(aliveSubject(SERVICE, instance), "", {
      timeoutMs: ALIVE_TIMEOUT_MS,
    });
    const dead = reply.kind === "no-responders";
    if (dead) log.info({ holder: instance }, "the lease's holder is gone");
    return dead;
  }

  /** A replica's connection closed: look at once whether it led. A node's: it is given nothing for now. */
  hearDisconnects(signal: AbortSignal): Promise<void> {
    return hearDisconnects(this.#deps.nc, signal, {
      onService: (name) => {
        if (this.#lease === undefined && name === SERVICE) this.#wakeup.ring();
      },
      onNode: (nodeId) => this.#term?.onDisconnect(nodeId),
    });
  }

  /**
   * A leader whose link was down may have been replaced. On one server it stops, and stands again. On a
   * cluster another server takes the link within milliseconds, and a new leader would have to wait for
   * elections in the store: there the lease is renewed at once, and says who leads.
   */
  followLink(signal: AbortSignal): Promise<void> {
    const { nc, replicas } = this.#deps;
    const onLink = (up: boolean): void => {
      if (!up && replicas === 1) this.#lease?.drop();
    };
    return together(signal, [
      (inner) => watchLink(nc, onLink, inner),
      (inner) => watchForgetting(nc, () => this.#onServers(), inner),
    ]);
  }

  #onServers(): void {
    this.#wakeup.ring();
    this.#renewNow.ring();
    this.#term?.onServers();
  }

  #onLease(key: string, after: NodeLease | "leader" | undefined): void {
    if (key === LEASE_KEY) {
      if (after === undefined) this.#wakeup.ring();
      return;
    }
    if (!key.startsWith(NODE_LEASE_PREFIX)) return;
    const nodeId = key.slice(NODE_LEASE_PREFIX.length);
    this.#fleet.hearLease(nodeId, after === "leader" ? undefined : after);
  }

  #leaseOf(nodeId: string): NodeLease | undefined {
    const lease = this.#leases.get(NODE_LEASE_PREFIX + nodeId);
    return lease === "leader" ? undefined : lease;
  }

  #leaseTtlMs(): number {
    return this.#config.leaderLeaseTtlMs ?? leaderLeaseTtlMs(this.#deps.replicas);
  }

  #leaseOptions(): LeaseOptions {
    const { clock, requester, instance } = this.#deps;
    return {
      bucket: LEASES_BUCKET,
      key: LEASE_KEY,
      ttlMs: this.#leaseTtlMs(),
      requester,
      clock,
      value: () => {
        const lease: LeaderLease = {
          instance,
          pid: process.pid,
          host: hostname(),
          epoch: this.#epoch,
        };
        return encode(lease);
      },
      readBack: async () => {
        const entry = await this.#leaseBucket.read(LEASE_KEY);
        const decision = decideLease(entry, instance, undefined);
        return {
          revision: entry?.revision ?? 0,
          ours: decision.kind === "take" && entry?.value !== undefined,
        };
      },
    };
  }
}
