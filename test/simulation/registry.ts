/** A simulated registry, as services/registry/src/service.ts and its records.ts have it. */
import {
  type Deregistration,
  isGone,
  type LeaderLease,
  lastTokenOf,
  leaderLeaseKey,
  type NodeEventKind,
  type NodeLease,
  type NodeRecord,
  type NodeState,
  nodeLeaseKey,
  nodeLeaseTtlMs,
  nodeSubject,
  type Pong,
  type Registration,
  type Welcome,
  wireError,
} from "@swarm-mesh/protocol";
import { backoffMs, isoTime, REQUEST_BACKOFF, timeOf } from "@swarm-mesh/runtime";
import { Config } from "../../services/registry/src/config.ts";
import {
  decideDeregistration,
  decideRegistration,
  type Evidence,
  joiningRecord,
  NEVER_READY,
  type Ping,
  planSweep,
  REPLACED,
  recordIn,
  type Stored,
  type SweepCommand,
  type Swept,
} from "../../services/registry/src/registration.ts";
import type { Mail } from "./mail.ts";
import { View, type ViewChange } from "./view.ts";
import { Host, type World } from "./world.ts";

const CONFIG = Config.parse({});
const DECISIONS_MAX = 8;
const SWEEP_COMMANDS_MAX = 256;
const EVENT_TRIES = 5;
const EVENT_TIMEOUT_MS = 1_000;
const TELL_AGAIN_MS = 90_000;
const READ_TIMEOUT_MS = 2_000;
const WRITE_TIMEOUT_MS = 5_000;
const KIND_OF: Partial<Record<NodeState, NodeEventKind>> = {
  ACTIVE: "joined",
  LEAVING: "leaving",
  LEFT: "left",
  FAILED: "failed",
};

interface Living {
  readonly record: NodeRecord;
  readonly revision: number;
}

/** A request that is refused. */
class Refused extends Error {
  override readonly name = "Refused";
  readonly answer: unknown;

  constructor(error: object) {
    super("refused");
    this.answer = { error };
  }
}

const unavailable = (why: string): Refused => new Refused(wireError("unavailable", why, true));

export function registry(world: World, name: string): Host {
  return new Host(world, name, (host) => void new Registry(host));
}

class Registry {
  readonly #host: Host;
  readonly #config = CONFIG;
  readonly #nodes: View<NodeRecord>;
  readonly #leases: View<NodeLease | LeaderLease>;
  readonly #joiningSince = new Map<string, { readonly revision: number; readonly atMs: number }>();
  #rung = false;
  #isServing = false;

  constructor(host: Host) {
    this.#host = host;
    const { store } = host.world;
    const current = (): void => this.#onCurrent();
    this.#nodes = new View<NodeRecord>(host.link, host.requester, store.nodes, {
      change: (change) => this.#onNode(change),
      current,
    });
    this.#leases = new View<NodeLease | LeaderLease>(host.link, host.requester, store.leases, {
      change: ({ key }) => {
        if (this.#joiningSince.has(lastTokenOf(key))) this.#ring();
      },
      current,
    });
    this.#nodes.start();
    this.#leases.start();
    host.process.every(this.#config.sweepIntervalMs, () => this.#sweep());
  }

  #onCurrent(): void {
    this.#ring();
    if (this.#isServing || !this.#viewsAreCurrent()) return;
    this.#isServing = true;
    const { link } = this.#host;
    link.subscribe("register", (mail) => this.#serve(mail, this.#register(mail)), true);
    link.subscribe("deregister", (mail) => this.#serve(mail, this.#deregister(mail)), true);
  }

  #serve(mail: Mail, work: Promise<unknown>): void {
    this.#host.spawn(
      work.then(mail.respond, (error: unknown) => {
        if (!(error instanceof Refused)) throw error;
        mail.respond(error.answer);
      }),
    );
  }

  async #register(mail: Mail): Promise<Welcome> {
    const id = lastTokenOf(mail.subject);
    for (let tries = 0; tries < DECISIONS_MAX; tries++) {
      const stored = await this.#read(id);
      let decision = decideRegistration(stored, this.#evidence(id, stored, undefined));
      if (decision.kind === "ping") {
        const ping = await this.#ping(id);
        decision = decideRegistration(stored, this.#evidence(id, stored, ping));
      }
      if (decision.kind === "refuse") throw new Refused(decision.error);
      if (decision.kind === "end-predecessor" && stored.record !== undefined) {
        const living = { record: stored.record, revision: stored.revision };
        await this.#become(living, "FAILED", REPLACED);
      } else if (decision.kind === "join") {
        const welcome = await this.#join(id, mail.json<Registration>(), stored);
        if (welcome !== undefined) return welcome;
      }
    }
    throw unavailable("the record keeps changing");
  }

  async #join(
    id: string,
    registration: Registration,
    stored: Stored,
  ): Promise<Welcome | undefined> {
    const { process } = this.#host;
    const predecessor = stored.record;
    if (predecessor !== undefined) await this.#tellEndAgain(predecessor);
    const at = isoTime(process.clock.now());
    const life = predecessor?.incarnation ?? 0;
    const record = joiningRecord(id, registration, life, at);
    const incarnation = await this.#write(record, stored.revision);
    if (incarnation === undefined) return undefined;
    const peers = [...this.#nodes.entries()].flatMap(([peer, { value }]) =>
      peer !== id && !isGone(value.state) ? [peer] : [],
    );
    const entry = this.#leases.entry(leaderLeaseKey("coordinator"));
    const lease = entry?.value as LeaderLease | undefined;
    const leader = lease && {
      instance: lease.instance,
      epoch: lease.epoch || (entry?.revision ?? 0),
    };
    const config = { leaseTtlMs: nodeLeaseTtlMs(1) };
    return { incarnation, leader: leader ?? null, peers, config };
  }

  async #deregister(mail: Mail): Promise<NodeRecord> {
    const request = mail.json<Deregistration>();
    for (let tries = 0; tries < DECISIONS_MAX; tries++) {
      const stored = await this.#read(lastTokenOf(mail.subject));
      const decision = decideDeregistration(stored, request);
      if (decision.kind === "refuse") throw new Refused(decision.error);
      if (decision.kind === "answer") return decision.record;
      if (stored.record === undefined) continue;
      await this.#become(
        { record: stored.record, revision: stored.revision },
        decision.to,
        "asked to leave",
      );
    }
    throw unavailable("the record keeps changing");
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
    if (!this.#viewsAreCurrent()) return;
    const { readyWithinMs, archiveAfterMs } = this.#config;
    const limits = { readyWithinMs, archiveAfterMs, commandsMax: SWEEP_COMMANDS_MAX };
    for (const command of planSweep(this.#swept(), limits)) {
      this.#perform(command).catch((error: unknown) => {
        if (!(error instanceof Refused)) this.#host.spawn(Promise.reject(error));
      });
    }
  }

  async #perform(command: SweepCommand): Promise<void> {
    const entry = this.#nodes.entry(command.id);
    if (entry === undefined || entry.revision !== command.revision) return;
    const stored = { record: entry.value, revision: entry.revision };
    if (command.kind === "activate") await this.#become(stored, "ACTIVE", "ready");
    else if (command.kind === "give-up") await this.#become(stored, "FAILED", NEVER_READY);
  }

  async #ping(id: string): Promise<Ping> {
    const options = { timeoutMs: this.#config.pingTimeoutMs };
    const reply = await this.#host.requester.request(nodeSubject(id, "ping"), {}, options);
    if (reply.kind === "no-responders") return { kind: "nobody" };
    if (reply.kind === "timeout") return { kind: "silent" };
    return { kind: "answered", incarnation: reply.message.json<Pong>().incarnation };
  }

  #evidence(id: string, stored: Stored, ping: Ping | undefined): Evidence {
    let livingCount = 0;
    for (const [other, { value }] of this.#nodes.entries()) {
      if (other !== id && !isGone(value.state)) livingCount++;
    }
    const since = this.#joiningSince.get(id);
    const known = since?.revision === stored.revision;
    return {
      ping,
      leaseOf: this.#leaseOf(id),
      ageMs: known ? this.#host.process.clock.elapsed() - (since?.atMs ?? 0) : 0,
      livingCount,
      joinGraceMs: this.#config.joinGraceMs,
    };
  }

  #onNode({ key, after, revision }: ViewChange<NodeRecord>): void {
    if (after?.state !== "JOINING") {
      this.#joiningSince.delete(key);
      return;
    }
    this.#joiningSince.set(key, { revision, atMs: this.#host.process.clock.elapsed() });
    this.#ring();
  }

  *#swept(): Generator<Swept> {
    const { clock } = this.#host.process;
    const now = clock.elapsed();
    for (const [id, { value: record, revision }] of this.#nodes.entries()) {
      yield {
        record,
        revision,
        leaseOf: this.#leaseOf(id),
        knownForMs: now - (this.#joiningSince.get(id)?.atMs ?? now),
        ageMs: clock.now() - timeOf(record.updatedAt),
      };
    }
  }

  #leaseOf(id: string): number | undefined {
    return (this.#leases.get(nodeLeaseKey(id)) as NodeLease | undefined)?.incarnation;
  }

  #viewsAreCurrent(): boolean {
    return this.#nodes.current && this.#leases.current;
  }

  // ── Its hand on the records ───────────────────────────────────────────────────────────────────

  async #read(id: string): Promise<Stored> {
    const { requester, world } = this.#host;
    const read = await requester.ask(() => {
      const entry = world.store.nodes.get(id);
      return { revision: entry?.revision ?? 0, record: entry?.value as NodeRecord | undefined };
    }, READ_TIMEOUT_MS);
    if (read === undefined) throw unavailable("the record was not read");
    return read;
  }

  async #write(record: NodeRecord, expected: number): Promise<number | undefined> {
    const { requester, world } = this.#host;
    const options = { expected, ttlMs: undefined };
    const written = await requester.ask(() => {
      return world.store.nodes.write(record.id, record, options);
    }, WRITE_TIMEOUT_MS);
    if (written?.kind === "stored") return written.revision;
    if (written?.kind === "conflict") return undefined;
    throw unavailable("the record was not stored");
  }

  async #become(stored: Living, to: NodeState, reason: string): Promise<void> {
    const { process } = this.#host;
    const record = recordIn(stored, to, reason, isoTime(process.clock.now()));
    if ((await this.#write(record, stored.revision)) === undefined) return;
    await this.#tell(record, stored.record.state);
  }

  async #tellEndAgain(record: NodeRecord): Promise<void> {
    if (this.#host.process.clock.now() - timeOf(record.updatedAt) >= TELL_AGAIN_MS) return;
    const told = await this.#tell(record, record.state === "LEFT" ? "LEAVING" : "ACTIVE");
    if (!told) throw unavailable("events cannot be stored now");
  }

  async #tell(record: NodeRecord, from: NodeState): Promise<boolean> {
    const { process, random, requester, world } = this.#host;
    const kind = KIND_OF[record.state];
    if (kind === undefined) return true;
    const { id: node, incarnation, state: to, reason, updatedAt: at } = record;
    const event = { node, incarnation, from, to, reason, at, by: this.#host.name };
    const id = `node.${node}.${incarnation}.${kind}`;
    for (let failures = 1; failures <= EVENT_TRIES; failures++) {
      const stored = await requester.ask(
        () => world.store.events.publish({ subject: kind, body: event }, id),
        EVENT_TIMEOUT_MS,
      );
      if (stored !== undefined) return true;
      await process.clock.sleep(backoffMs(REQUEST_BACKOFF, failures, random));
    }
    return false;
  }
}
