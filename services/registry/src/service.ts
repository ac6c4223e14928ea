/**
 * The registry: gives node ids away, writes the record of every life, and tells who is there.
 *
 * It owns no memory that it cannot rebuild: records and leases are followed in two views, and every
 * write is a compare-and-swap on a revision, so any number of replicas may run. A request is decided
 * on what the bucket's leader says, never on a view. Events only bring the sweep forward.
 *
 * A life's end is told before the next life begins: an event that a crash kept back is published
 * again, with the same message id, by whoever takes the id next.
 */
import { ask, BucketView, type Change, RefusedError, serve } from "@swarm-mesh/bus";
import type { ServiceDefinition } from "@swarm-mesh/process";
import {
  check,
  type Decoded,
  Deregistration,
  decode,
  deregisterSubject,
  encode,
  FindNodes,
  isGone,
  LEASES_BUCKET,
  type Leader,
  LeaderLease,
  lastTokenOf,
  leaderLeaseKey,
  NODES_BUCKET,
  NodeId,
  NodeLease,
  NodeRecord,
  nodeLeaseKey,
  nodeLeaseTtlMs,
  nodeSubject,
  Pong,
  REGISTRY_FIND_SUBJECT,
  REGISTRY_LIST_SUBJECT,
  Registration,
  registerSubject,
  VERSION,
  type Welcome,
} from "@swarm-mesh/protocol";
import { isoTime, latch, ticks, together, Wakeup } from "@swarm-mesh/runtime";
import type { Msg } from "nats";
import type { z } from "zod";
import { Config } from "./config.ts";
import { RegistryMeters } from "./meters.ts";
import { Records, type RegistryDeps } from "./records.ts";
import {
  decideDeregistration,
  decideRegistration,
  type Evidence,
  isFound,
  joiningRecord,
  NEVER_READY,
  type Ping,
  planSweep,
  REPLACED,
  type RefusalReason,
  type Stored,
  type SweepCommand,
  type Swept,
} from "./registration.ts";

/** How often a request is decided anew when others keep writing the same record. */
const DECISIONS_MAX = 8;
/** Writes of one sweep; the next one, at once, does the rest. */
const SWEEP_COMMANDS_MAX = 256;
type Lease =
  | { readonly kind: "node"; readonly incarnation: number }
  | { readonly kind: "leader"; readonly lease: LeaderLease };

/** The service as a process runs it. */
export const registry: ServiceDefinition<typeof Config> = {
  name: "registry",
  config: Config,
  run: runRegistry,
};

/** Runs until `signal` aborts. Rejects only on a bug. */
export function runRegistry(
  config: Config,
  deps: RegistryDeps,
  signal: AbortSignal,
): Promise<void> {
  return new Registry(config, deps).run(signal);
}

class Registry {
  readonly #config: Config;
  readonly #deps: RegistryDeps;
  readonly #wakeup = new Wakeup();
  readonly #meters: RegistryMeters;
  readonly #records: Records;
  readonly #nodes: BucketView<NodeRecord>;
  readonly #leases: BucketView<Lease>;
  /** When this replica first saw each record that is JOINING, on its own clock. */
  readonly #joiningSince = new Map<string, { readonly revision: number; readonly atMs: number }>();
  readonly #current = latch<void>();

  constructor(config: Config, deps: RegistryDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#meters = new RegistryMeters(deps.meters, () => this.#nodes.entries());
    this.#records = new Records(deps, this.#meters);
    const onCurrent = (): void => {
      if (this.#viewsAreCurrent()) this.#current.resolve();
      this.#wakeup.ring();
    };
    this.#nodes = new BucketView({
      ...deps,
      bucket: NODES_BUCKET,
      decode: (_, value) => decode(NodeRecord, value),
      onChange: (change) => this.#onNode(change),
      onCurrent,
    });
    this.#leases = new BucketView({
      ...deps,
      bucket: LEASES_BUCKET,
      decode: decodeLease,
      onChange: ({ key }) => {
        // Every renewal is a change; only a joining node's first one is news.
        if (this.#joiningSince.has(lastTokenOf(key))) this.#wakeup.ring();
      },
      onCurrent,
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    await together(signal, [
      (inner) => this.#nodes.run(inner),
      (inner) => this.#leases.run(inner),
      (inner) => this.#serve(inner),
      (inner) => this.#sweep(inner),
    ]);
  }

  async #serve(signal: AbortSignal): Promise<void> {
    const { nc, log, meters, ready } = this.#deps;
    const stopped = new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await Promise.race([this.#current.promise, stopped]);
    if (signal.aborted) return;
    await serve(nc, {
      name: "registry",
      version: VERSION,
      description: "Registers nodes and tells who is there",
      metadata: { instance: this.#deps.instance },
      endpoints: [
        {
          name: "register",
          subject: registerSubject("*"),
          handle: (message) => this.#meters.registration(this.#register(message)),
        },
        {
          name: "deregister",
          subject: deregisterSubject("*"),
          handle: (message) => this.#deregister(message),
        },
        { name: "list", subject: REGISTRY_LIST_SUBJECT, handle: () => this.#list({}, false) },
        {
          name: "find",
          subject: REGISTRY_FIND_SUBJECT,
          handle: (message) => this.#list(bodyOf(FindNodes, message), true),
        },
      ],
      onListening: ready,
      meters,
      log,
      signal,
    });
  }

  /** A repeat finds the asker's own first record: see {@link decideRegistration}. */
  async #register(message: Msg): Promise<Welcome> {
    const id = nodeIdOf(message);
    const registration = bodyOf(Registration, message);
    for (let tries = 0; tries < DECISIONS_MAX; tries++) {
      const stored = await this.#records.read(id);
      const first = decideRegistration(stored, this.#evidence(id, stored, undefined));
      const decision =
        first.kind === "ping"
          ? decideRegistration(stored, this.#evidence(id, stored, await this.#ping(id)))
          : first;
      if (decision.kind === "refuse") throw refusal(decision.error);
      if (decision.kind === "end-predecessor" && stored.record !== undefined) {
        await this.#records.become(
          { record: stored.record, revision: stored.revision },
          "FAILED",
          REPLACED,
        );
      } else if (decision.kind === "join") {
        const welcome = await this.#join(id, registration, stored);
        if (welcome !== undefined) return welcome;
      }
    }
    throw new RefusedError("unavailable", "the record keeps changing", true);
  }

  /** `undefined`: another one was first. */
  async #join(
    id: string,
    registration: Registration,
    stored: Stored,
  ): Promise<Welcome | undefined> {
    const { clock, log } = this.#deps;
    const predecessor = stored.record;
    if (predecessor !== undefined) await this.#records.tellEndAgain(predecessor);
    const at = isoTime(clock.now());
    const record = joiningRecord(id, registration, predecessor?.incarnation ?? 0, at);
    const incarnation = await this.#records.write(record, stored.revision);
    if (incarnation === undefined) return undefined;
    log.info({ nodeId: id, incarnation, host: record.host, role: record.role }, "node registered");
    return {
      incarnation,
      leader: this.#leader(),
      peers: this.#peersOf(id),
      config: { leaseTtlMs: this.#config.leaseTtlMs ?? nodeLeaseTtlMs(this.#deps.replicas) },
    };
  }

  /** A repeat is answered with the record as it then is. */
  async #deregister(message: Msg): Promise<NodeRecord> {
    const id = nodeIdOf(message);
    const request = bodyOf(Deregistration, message);
    for (let tries = 0; tries < DECISIONS_MAX; tries++) {
      const stored = await this.#records.read(id);
      const decision = decideDeregistration(stored, request);
      if (decision.kind === "refuse") throw refusal(decision.error);
      if (decision.kind === "answer") return decision.record;
      if (stored.record === undefined) continue;
      const reason = request.reason === "" ? "asked to leave" : request.reason;
      await this.#records.become(
        { record: stored.record, revision: stored.revision },
        decision.to,
        reason,
      );
    }
    throw new RefusedError("unavailable", "the record keeps changing", true);
  }

  #list(wanted: FindNodes, active: boolean): string {
    const records = [...this.#nodes.entries()].map(([, record]) => record);
    const nodes = active ? records.filter((record) => isFound(record, wanted)) : records;
    nodes.sort((a, b) => (a.id < b.id ? -1 : 1));
    const answer = encode({ nodes });
    const most = this.#deps.nc.info?.max_payload ?? Number.POSITIVE_INFINITY;
    if (Buffer.byteLength(answer) > most) {
      throw new RefusedError(
        "payload_too_large",
        `${nodes.length} records are more than one answer of ${most} bytes holds: read the bucket ${NODES_BUCKET.name}`,
      );
    }
    return answer;
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    const { readyWithinMs, archiveAfterMs, sweepIntervalMs: everyMs } = this.#config;
    const limits = { readyWithinMs, archiveAfterMs, commandsMax: SWEEP_COMMANDS_MAX };
    for await (const _ of ticks({ clock, everyMs, wakeup: this.#wakeup, signal })) {
      if (!this.#viewsAreCurrent()) continue;
      const commands = planSweep(this.#swept(), limits);
      if (commands.length === SWEEP_COMMANDS_MAX) this.#wakeup.ring();
      await Promise.all(
        commands.map((command) =>
          this.#perform(command).catch((error: unknown) => {
            // The next sweep finds the record as it is and does it again.
            log.warn(
              { nodeId: command.id, command: command.kind, err: error },
              "sweep command failed",
            );
          }),
        ),
      );
    }
  }

  async #perform(command: SweepCommand): Promise<void> {
    const entry = this.#nodes.entry(command.id);
    if (entry === undefined || entry.revision !== command.revision) return;
    const stored = { record: entry.value, revision: entry.revision };
    switch (command.kind) {
      case "activate":
        await this.#records.become(stored, "ACTIVE", "ready");
        return;
      case "give-up":
        await this.#records.become(stored, "FAILED", NEVER_READY);
        return;
      case "archive":
        await this.#records.archive(command.id, command.revision);
        return;
    }
  }

  async #ping(id: string): Promise<Ping> {
    const { requester } = this.#deps;
    const answer = await ask(requester, nodeSubject(id, "ping"), {}, Pong, {
      timeoutMs: this.#config.pingTimeoutMs,
    });
    if (answer.kind === "ok") return { kind: "answered", incarnation: answer.value.incarnation };
    return { kind: answer.kind === "no-responders" ? "nobody" : "silent" };
  }

  #evidence(id: string, stored: Stored, ping: Ping | undefined): Evidence {
    let livingCount = 0;
    for (const [other, record] of this.#nodes.entries()) {
      if (other !== id && !isGone(record.state)) livingCount++;
    }
    const since = this.#joiningSince.get(id);
    return {
      ping,
      leaseOf: this.#leaseOf(id),
      ageMs:
        since !== undefined && since.revision === stored.revision
          ? this.#deps.clock.elapsed() - since.atMs
          : 0,
      livingCount,
      joinGraceMs: this.#config.joinGraceMs,
    };
  }

  #onNode({ key, after, revision }: Change<NodeRecord>): void {
    if (after?.state !== "JOINING") {
      this.#joiningSince.delete(key);
      return;
    }
    this.#joiningSince.set(key, { revision, atMs: this.#deps.clock.elapsed() });
    this.#wakeup.ring();
  }

  *#swept(): Generator<Swept> {
    const now = this.#deps.clock.elapsed();
    for (const [id, record] of this.#nodes.entries()) {
      yield {
        record,
        revision: this.#nodes.entry(id)?.revision ?? 0,
        leaseOf: this.#leaseOf(id),
        knownForMs: now - (this.#joiningSince.get(id)?.atMs ?? now),
        ageMs: this.#records.ageOf(record),
      };
    }
  }

  #leaseOf(id: string): number | undefined {
    const lease = this.#leases.get(nodeLeaseKey(id));
    return lease?.kind === "node" ? lease.incarnation : undefined;
  }

  #leader(): Leader | null {
    const entry = this.#leases.entry(leaderLeaseKey("coordinator"));
    if (entry?.value.kind !== "leader") return null;
    const { instance, epoch } = entry.value.lease;
    return { instance, epoch: epoch === 0 ? entry.revision : epoch };
  }

  #peersOf(id: string): string[] {
    const peers: string[] = [];
    for (const [peer, record] of this.#nodes.entries()) {
      if (peer !== id && !isGone(record.state)) peers.push(peer);
    }
    return peers.sort();
  }

  #viewsAreCurrent(): boolean {
    return this.#nodes.current && this.#leases.current;
  }
}

function decodeLease(key: string, value: Uint8Array): Decoded<Lease> {
  if (key.startsWith("node.")) {
    const lease = decode(NodeLease, value);
    if (!lease.ok) return lease;
    return { ok: true, value: { kind: "node", incarnation: lease.value.incarnation } };
  }
  const lease = decode(LeaderLease, value);
  return lease.ok ? { ok: true, value: { kind: "leader", lease: lease.value } } : lease;
}

function nodeIdOf(message: Msg): string {
  const id = check(NodeId, lastTokenOf(message.subject));
  if (!id.ok) throw new RefusedError("bad_request", id.problem);
  return id.value;
}

/** An empty body stands for one without fields. */
function bodyOf<S extends z.ZodType>(schema: S, message: Msg): z.infer<S> {
  const body = message.data.length === 0 ? check(schema, {}) : decode(schema, message.data);
  if (!body.ok) throw new RefusedError("bad_request", body.problem);
  return body.value;
}

function refusal({ code, message, retryable }: RefusalReason): RefusedError {
  return new RefusedError(code, message, retryable);
}
