/** A simulated health-monitor, as services/health-monitor/src/service.ts has it. */
import {
  isGone,
  lastTokenOf,
  type NodeEvent,
  type NodeEventKind,
  type NodeLease,
  type NodeRecord,
  type NodeState,
  nodeSubject,
  type Pong,
} from "@swarm-mesh/protocol";
import { isoTime, timeOf } from "@swarm-mesh/runtime";
import { Config, type Settings, settle } from "../../services/health-monitor/src/config.ts";
import { Liveness, type LivenessCommand } from "../../services/health-monitor/src/liveness.ts";
import type { SimEvent } from "./scheduler.ts";
import { View, type ViewChange } from "./view.ts";
import { Host, type World } from "./world.ts";

const TELL_AGAIN_MS = 60_000;
const TOLD_TIMEOUT_MS = 2_000;
const WRITE_TIMEOUT_MS = 5_000;
const KIND_OF = { FAILED: "failed", DEGRADED: "degraded", ACTIVE: "recovered" } as const;

const CONFIG = settle(Config.parse({}), 1);

type Write = Extract<LivenessCommand, { readonly kind: "write" }>;
type Ping = Extract<LivenessCommand, { readonly kind: "ping" }>;

export function monitor(world: World, name: string): Host {
  return new Host(world, name, (host) => void new Monitor(host));
}

class Monitor {
  readonly #host: Host;
  readonly #config: Settings;
  readonly #liveness: Liveness;
  readonly #nodes: View<NodeRecord>;
  readonly #leases: View<NodeLease>;
  readonly #untold = new Map<string, { readonly kind: NodeEventKind; readonly event: NodeEvent }>();
  readonly #told = new Set<string>();
  #rung = false;
  #alarm: SimEvent | undefined;
  #alarmAt = Number.POSITIVE_INFINITY;

  constructor(host: Host) {
    this.#host = host;
    this.#config = { ...CONFIG, ...host.world.sabotage.liveness };
    this.#liveness = new Liveness(this.#config, host.process.clock.elapsed());
    const current = (): void => this.#ring();
    const { store } = host.world;
    this.#nodes = new View<NodeRecord>(host.link, host.requester, store.nodes, {
      change: (change) => this.#onRecord(change),
      current,
    });
    this.#leases = new View<NodeLease>(host.link, host.requester, store.leases, {
      change: (change) => this.#onLease(change),
      current,
    });
    this.#nodes.start();
    this.#leases.start();
    host.link.onLink((up) => {
      this.#liveness.link(up, host.process.clock.elapsed());
      this.#ring();
    });
    host.link.subscribe("disconnect", (mail) => {
      // A process of a node is called as the node is.
      this.#liveness.disconnected(String(mail.body), host.process.clock.elapsed());
      this.#ring();
    });
    host.process.every(this.#config.sweepIntervalMs, () => this.#sweep());
  }

  #ring(): void {
    if (this.#rung) return;
    this.#rung = true;
    this.#host.process.after(0, () => {
      this.#rung = false;
      this.#sweep();
    });
  }

  #sweep(): void {
    for (const [id, { kind, event }] of this.#untold) this.#send(id, kind, event);
    if (!this.#viewsAreCurrent()) return;
    const { clock } = this.#host.process;
    const { commands, nextAtMs } = this.#liveness.judge(clock.elapsed());
    for (const command of commands) {
      if (command.kind === "ping") this.#ping(command);
      else this.#host.spawn(this.#write(command));
    }
    this.#setAlarm(nextAtMs);
  }

  #setAlarm(atMs: number | undefined): void {
    const { process } = this.#host;
    const now = process.clock.elapsed();
    if (atMs === undefined || atMs >= this.#alarmAt) return;
    if (atMs - now >= this.#config.sweepIntervalMs) return;
    process.scheduler.cancel(this.#alarm);
    this.#alarmAt = atMs;
    this.#alarm = process.after(Math.max(1, Math.ceil(atMs - now)), () => {
      this.#alarmAt = Number.POSITIVE_INFINITY;
      this.#ring();
    });
  }

  #ping({ id, serial }: Ping): void {
    const { process, requester } = this.#host;
    requester.send(
      nodeSubject(id, "ping"),
      {},
      (reply) => {
        const now = process.clock.elapsed();
        if (reply.kind !== "message") this.#liveness.pingUnanswered(serial, reply.kind, now);
        else this.#liveness.pingAnswered(serial, reply.message.json<Pong>().incarnation, now);
        this.#ring();
      },
      { timeoutMs: this.#config.pingTimeoutMs },
    );
  }

  async #write(command: Write): Promise<void> {
    const revision = await this.#become(command);
    this.#liveness.wrote(command.id, revision, this.#host.process.clock.elapsed());
    this.#ring();
  }

  async #become({ id, to, revision, reason }: Write): Promise<number | undefined> {
    const { process, requester, world } = this.#host;
    const entry = this.#nodes.entry(id);
    if (entry === undefined || entry.revision !== revision) return undefined;
    const from = entry.value.state;
    const updatedAt = isoTime(process.clock.now());
    const record: NodeRecord = { ...entry.value, state: to, reason, updatedAt };
    const options = { expected: revision, ttlMs: undefined };
    const stored = await requester.ask(() => {
      return world.store.nodes.write(id, record, options);
    }, WRITE_TIMEOUT_MS);
    if (stored?.kind !== "stored") return undefined;
    this.#tell(KIND_OF[to], record, from, stored.revision);
    return stored.revision;
  }

  #tell(kind: NodeEventKind, record: NodeRecord, from: NodeState, revision: number): void {
    const repeats = kind === "degraded" || kind === "recovered";
    const id = `node.${record.id}.${record.incarnation}.${kind}${repeats ? `.${revision}` : ""}`;
    if (this.#untold.has(id) || this.#told.has(id)) return;
    const { id: node, incarnation, state: to, reason, updatedAt: at } = record;
    const event = { node, incarnation, from, to, reason, at, by: this.#host.name };
    this.#untold.set(id, { kind, event });
    this.#send(id, kind, event);
  }

  readonly #sending = new Set<string>();

  #send(id: string, kind: NodeEventKind, event: NodeEvent): void {
    if (this.#sending.has(id)) return;
    this.#sending.add(id);
    const { requester, world } = this.#host;
    const stored = requester.ask(
      () => world.store.events.publish({ subject: kind, body: event }, id),
      TOLD_TIMEOUT_MS,
    );
    this.#host.spawn(
      stored.then((answer) => {
        this.#sending.delete(id);
        if (answer === undefined) return;
        this.#untold.delete(id);
        this.#told.add(id);
      }),
    );
  }

  #onRecord({ key, before, after, revision }: ViewChange<NodeRecord>): void {
    const { clock } = this.#host.process;
    const seen = after && { state: after.state, incarnation: after.incarnation, revision };
    this.#liveness.heardRecord(key, seen, clock.elapsed());
    this.#ring();
    if (after === undefined || !isGone(after.state) || before?.state === after.state) return;
    const recent = clock.now() - timeOf(after.updatedAt) < TELL_AGAIN_MS;
    if (before === undefined && !recent) return;
    const kind = after.state === "FAILED" ? "failed" : "left";
    const usual = after.state === "FAILED" ? "ACTIVE" : "LEAVING";
    this.#tell(kind, after, before?.state ?? usual, revision);
  }

  #onLease({ key, after }: ViewChange<NodeLease>): void {
    if (!key.startsWith("node.")) return;
    const id = lastTokenOf(key);
    const now = this.#host.process.clock.elapsed();
    if (after === undefined) {
      this.#liveness.leaseGone(id, now);
      this.#ring();
    } else {
      this.#liveness.heardLease(id, after, this.#viewsAreCurrent(), now);
    }
  }

  #viewsAreCurrent(): boolean {
    return this.#nodes.current && this.#leases.current;
  }
}
