/**
 * The health-monitor: hears who renews, who is cut off and who answers, and writes down who is alive.
 *
 * It owns no memory that it cannot rebuild, and needs no leader: every verdict is a compare-and-swap
 * on the record's revision, so of several replicas one wins. After its own link was down it may fail
 * nobody whom it has not heard since, for one lease's TTL. What it decides is in liveness.ts.
 */
import { ask, Bucket, BucketView, type Change, listen, serve, watchLink } from "@swarm-mesh/bus";
import type { ServiceDefinition, ServiceDeps } from "@swarm-mesh/process";
import {
  DisconnectEvent,
  decode,
  disconnectEventSubject,
  encode,
  isGone,
  isNodeId,
  isServerGone,
  LEASES_BUCKET,
  lastTokenOf,
  NODES_BUCKET,
  type NodeEventKind,
  NodeLease,
  NodeRecord,
  type NodeState,
  nodeSubject,
  Pong,
  VERSION,
} from "@swarm-mesh/protocol";
import { aborted, isoTime, type Log, ticks, timeOf, together, Wakeup } from "@swarm-mesh/runtime";
import type { Msg } from "nats";
import { Config, settle } from "./config.ts";
import { Events } from "./events.ts";
import { type Brake, Liveness, type LivenessCommand } from "./liveness.ts";
import { HealthMonitorMeters } from "./meters.ts";

/** A life that ended this long before this replica started is told by it as well. */
const TELL_AGAIN_MS = 60_000;
/** The account whose connections are nodes. */
const NODES_ACCOUNT = "NODES";

/** The event of each state that the health-monitor writes. */
const KIND_OF = { FAILED: "failed", DEGRADED: "degraded", ACTIVE: "recovered" } as const;

type Write = Extract<LivenessCommand, { readonly kind: "write" }>;
type Ping = Extract<LivenessCommand, { readonly kind: "ping" }>;

export type HealthMonitorDeps = Omit<ServiceDeps, "log"> & { readonly log: Log };

/** The service as a process runs it. */
export const healthMonitor: ServiceDefinition<typeof Config> = {
  name: "health-monitor",
  config: Config,
  run: runHealthMonitor,
};

/** Runs until `signal` aborts. Rejects only on a bug. */
export function runHealthMonitor(
  config: Config,
  deps: HealthMonitorDeps,
  signal: AbortSignal,
): Promise<void> {
  return new HealthMonitor(config, deps).run(signal);
}

class HealthMonitor {
  readonly #config: Config;
  readonly #deps: HealthMonitorDeps;
  readonly #wakeup = new Wakeup();
  readonly #liveness: Liveness;
  readonly #events: Events;
  readonly #meters: HealthMonitorMeters;
  readonly #bucket: Bucket;
  readonly #nodes: BucketView<NodeRecord>;
  /** `null`: the lease of a leader, not of a node. */
  readonly #leases: BucketView<NodeLease | null>;
  #listening = false;
  #ready = false;
  #braking = false;
  #alarmAt = Number.POSITIVE_INFINITY;

  constructor(config: Config, deps: HealthMonitorDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#liveness = new Liveness(settle(config, deps.replicas), deps.clock.elapsed());
    this.#events = new Events(deps);
    this.#meters = new HealthMonitorMeters(deps.meters, {
      braking: () => this.#braking,
      suspects: () => this.#liveness.suspectCount,
    });
    this.#bucket = new Bucket(NODES_BUCKET, deps.manager, deps.requester);
    const onCurrent = (): void => this.#wakeup.ring();
    this.#nodes = new BucketView({
      ...deps,
      bucket: NODES_BUCKET,
      decode: (_, value) => decode(NodeRecord, value),
      onChange: (change) => this.#onRecord(change),
      onCurrent,
    });
    this.#leases = new BucketView<NodeLease | null>({
      ...deps,
      bucket: LEASES_BUCKET,
      decode: (key, value) =>
        key.startsWith("node.") ? decode(NodeLease, value) : { ok: true, value: null },
      onChange: (change) => this.#onLease(change),
      onCurrent,
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    await together(signal, [
      (inner) => this.#nodes.run(inner),
      (inner) => this.#leases.run(inner),
      (inner) => watchLink(this.#deps.nc, (up) => this.#onLink(up), inner),
      (inner) => this.#hearDisconnects(inner),
      (inner) => this.#serve(inner),
      (inner) => this.#sweep(inner),
    ]);
  }

  /** Nothing to ask of it, but `$SRV` discovery shows that it is there. */
  #serve(signal: AbortSignal): Promise<void> {
    const { instance, log, meters, nc } = this.#deps;
    return serve(nc, {
      name: "health-monitor",
      version: VERSION,
      description: "Judges which nodes are alive",
      metadata: { instance },
      endpoints: [],
      onListening: () => {
        this.#listening = true;
        this.#wakeup.ring();
      },
      meters,
      log,
      signal,
    });
  }

  async #hearDisconnects(signal: AbortSignal): Promise<void> {
    const { log, nc } = this.#deps;
    try {
      const subject = disconnectEventSubject(NODES_ACCOUNT);
      await listen(nc, subject, (message) => this.#onDisconnect(message), { signal });
    } catch (error) {
      // Without the server's events failures are found by their leases: later, but all the same.
      log.warn({ err: error }, "disconnect events are not to be had");
      await aborted(signal);
    }
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    const everyMs = this.#config.sweepIntervalMs;
    for await (const _ of ticks({ clock, everyMs, wakeup: this.#wakeup, signal })) {
      this.#events.flush();
      if (!this.#viewsAreCurrent()) continue;
      this.#sayReady();
      const judgement = this.#liveness.judge(clock.elapsed());
      this.#sayBrake(judgement.brake);
      for (const command of judgement.commands) {
        if (command.kind === "ping") void this.#ping(command);
        else void this.#write(command);
      }
      this.#setAlarm(judgement.nextAtMs, signal);
    }
  }

  /** Rings at `atMs` when that is before the next sweep, so that a grace ends on time. */
  #setAlarm(atMs: number | undefined, signal: AbortSignal): void {
    const { clock } = this.#deps;
    const now = clock.elapsed();
    if (atMs === undefined || atMs >= this.#alarmAt) return;
    if (atMs - now >= this.#config.sweepIntervalMs) return;
    this.#alarmAt = atMs;
    void clock.sleep(Math.max(1, Math.ceil(atMs - now)), signal).then(() => {
      if (this.#alarmAt === atMs) this.#alarmAt = Number.POSITIVE_INFINITY;
      this.#wakeup.ring();
    });
  }

  async #ping({ id, serial }: Ping): Promise<void> {
    const { clock, requester } = this.#deps;
    const answer = await ask(requester, nodeSubject(id, "ping"), {}, Pong, {
      timeoutMs: this.#config.pingTimeoutMs,
    }).catch(() => ({ kind: "timeout" as const })); // The connection is closed: nothing was learnt.
    const now = clock.elapsed();
    if (answer.kind === "ok") {
      this.#meters.pings.of("answered").inc();
      this.#liveness.pingAnswered(serial, answer.value.incarnation, now);
    } else if (answer.kind === "no-responders" || answer.kind === "timeout") {
      this.#meters.pings.of(answer.kind === "timeout" ? "timeout" : "no_responders").inc();
      this.#liveness.pingUnanswered(serial, answer.kind, now);
    } else {
      this.#meters.pings.of("other_life").inc();
      this.#liveness.pingUnanswered(serial, "other-life", now);
    }
    this.#wakeup.ring();
  }

  async #write(command: Write): Promise<void> {
    const { clock, log } = this.#deps;
    let revision: number | undefined;
    try {
      revision = await this.#become(command);
    } catch (error) {
      // The next sweep decides again from the record as it then is.
      log.warn(
        { nodeId: command.id, to: command.to, reason: command.reason, err: error },
        "record not written",
      );
    }
    this.#liveness.wrote(command.id, revision, clock.elapsed());
    this.#wakeup.ring();
  }

  /** The revision written; `undefined`: the record has changed, or the store did not take it. */
  async #become({ id, to, revision, reason }: Write): Promise<number | undefined> {
    const { clock, log } = this.#deps;
    const entry = this.#nodes.entry(id);
    if (entry === undefined || entry.revision !== revision) return undefined;
    const sinceMs = this.#liveness.suspectSince(id);
    const from = entry.value.state;
    const at = isoTime(clock.now());
    const record: NodeRecord = { ...entry.value, state: to, reason, updatedAt: at };
    const stored = await this.#bucket.write(id, encode(record), revision);
    if (stored.kind !== "stored") {
      if (stored.kind !== "conflict") log.warn({ nodeId: id, to, stored }, "record not written");
      return undefined;
    }
    log.info({ nodeId: id, incarnation: record.incarnation, from, to, reason }, "node judged");
    this.#meters.verdicts.of(to).inc();
    if (to === "FAILED" && sinceMs !== undefined) {
      this.#meters.detection.observeMs(clock.elapsed() - sinceMs);
    }
    this.#tell(KIND_OF[to], record, from, stored.revision);
    return stored.revision;
  }

  #tell(kind: NodeEventKind, record: NodeRecord, from: NodeState, revision: number): void {
    const event = {
      node: record.id,
      incarnation: record.incarnation,
      from,
      to: record.state,
      reason: record.reason,
      at: record.updatedAt,
      by: this.#deps.instance,
    };
    this.#events.tell(kind, event, revision);
  }

  #onRecord({ key, before, after, revision }: Change<NodeRecord>): void {
    const { clock } = this.#deps;
    const seen = after && { state: after.state, incarnation: after.incarnation, revision };
    this.#liveness.heardRecord(key, seen, clock.elapsed());
    this.#wakeup.ring();
    if (after === undefined || !isGone(after.state) || before?.state === after.state) return;
    // At the start every old end is seen; only a recent one may still be untold.
    const recent = clock.now() - timeOf(after.updatedAt) < TELL_AGAIN_MS;
    if (before === undefined && !recent) return;
    const kind = after.state === "FAILED" ? "failed" : "left";
    const usual = after.state === "FAILED" ? "ACTIVE" : "LEAVING";
    this.#tell(kind, after, before?.state ?? usual, revision);
  }

  #onLease({ key, after }: Change<NodeLease | null>): void {
    const id = lastTokenOf(key);
    const now = this.#deps.clock.elapsed();
    if (after === undefined && key.startsWith("node.")) {
      this.#liveness.leaseGone(id, now);
      this.#wakeup.ring();
    } else if (after !== undefined && after !== null) {
      this.#liveness.heardLease(id, after, this.#viewsAreCurrent(), now);
    }
  }

  /** The name is what the client called itself, so it may be a lie: it only causes a ping. */
  #onDisconnect(message: Msg): void {
    const event = decode(DisconnectEvent, message.data);
    if (!event.ok) {
      this.#deps.log.warn({ problem: event.problem }, "disconnect event ignored");
      return;
    }
    // A server that is stopped closes all of its clients: they are at another one before a ping is.
    if (isServerGone(event.value)) return;
    const [role, id] = (event.value.client.name ?? "").split("/");
    if (role !== "node" || id === undefined || !isNodeId(id)) return;
    this.#meters.disconnects.inc();
    this.#liveness.disconnected(id, this.#deps.clock.elapsed());
    this.#wakeup.ring();
  }

  #onLink(up: boolean): void {
    this.#liveness.link(up, this.#deps.clock.elapsed());
    this.#wakeup.ring();
  }

  #sayBrake(brake: Brake | undefined): void {
    const { log } = this.#deps;
    if (brake === undefined && this.#braking) {
      this.#braking = false;
      log.info({}, "nodes are judged one by one again");
    } else if (brake !== undefined && brake.withheldCount > 0 && !this.#braking) {
      this.#braking = true;
      log.warn({ ...brake }, "too many nodes suspect at once: leases decide");
    }
  }

  #sayReady(): void {
    if (this.#ready || !this.#listening) return;
    this.#ready = true;
    this.#deps.ready();
  }

  #viewsAreCurrent(): boolean {
    return this.#nodes.current && this.#leases.current;
  }
}
