/** The registry's hand on `mesh_nodes`: reads by the leader, writes by revision, tells each change. */
import { Bucket, expecting, RefusedError } from "@swarm-mesh/bus";
import type { ServiceDeps } from "@swarm-mesh/process";
import {
  check,
  decode,
  encode,
  kvSubject,
  NODES_BUCKET,
  type NodeEvent,
  type NodeEventKind,
  NodeRecord,
  type NodeState,
  nodeEventId,
  nodeEventSubject,
} from "@swarm-mesh/protocol";
import { assert, backoffMs, isoTime, type Log, REQUEST_BACKOFF, timeOf } from "@swarm-mesh/runtime";
import { headers } from "nats";
import type { RegistryMeters } from "./meters.ts";
import { recordIn, type Stored } from "./registration.ts";

/** What the registry works with. */
export type RegistryDeps = Omit<ServiceDeps, "log"> & { readonly log: Log };

/** A record with the revision it was read at. */
export interface StoredRecord {
  readonly record: NodeRecord;
  readonly revision: number;
}

/** Tries to publish an event. After them the health-monitor and the coordinator's sweep help. */
const EVENT_TRIES = 5;
/** How long one try may take, so that all of them end before the asker gives up. */
const EVENT_TIMEOUT_MS = 1_000;
/** An end younger than this is told again before the next life: within the server's dedupe window. */
const TELL_AGAIN_MS = 90_000;

/** The event of each state that the registry writes. */
const KIND_OF: Partial<Record<NodeState, NodeEventKind>> = {
  ACTIVE: "joined",
  LEAVING: "leaving",
  LEFT: "left",
  FAILED: "failed",
};

export class Records {
  readonly #deps: RegistryDeps;
  readonly #meters: RegistryMeters;
  readonly #bucket: Bucket;

  constructor(deps: RegistryDeps, meters: RegistryMeters) {
    this.#deps = deps;
    this.#meters = meters;
    this.#bucket = new Bucket(NODES_BUCKET, deps.manager, deps.requester);
  }

  /** The record as the bucket's leader has it. */
  async read(id: string): Promise<Stored> {
    const entry = await this.#bucket.read(id);
    if (entry?.value === undefined) return { revision: entry?.revision ?? 0, record: undefined };
    const decoded = decode(NodeRecord, entry.value);
    if (decoded.ok) return { revision: entry.revision, record: decoded.value };
    // A record that nobody can read must not block its id for ever.
    this.#deps.log.warn({ nodeId: id, problem: decoded.problem }, "record cannot be read");
    return { revision: entry.revision, record: undefined };
  }

  /** The revision written; `undefined`: the record is no longer at `expected`. */
  async write(record: NodeRecord, expected: number): Promise<number | undefined> {
    const checked = check(NodeRecord, record);
    assert(checked.ok, `a record that cannot be read back: ${checked.ok ? "" : checked.problem}`);
    const written = await this.#bucket.write(record.id, encode(record), expected);
    if (written.kind === "stored") return written.revision;
    if (written.kind === "conflict") return undefined;
    throw new RefusedError("unavailable", `the record was not stored: ${written.message}`, true);
  }

  /** Writes the next state and tells it. After a conflict the caller reads and decides again. */
  async become(stored: StoredRecord, to: NodeState, reason: string): Promise<void> {
    const { clock, log } = this.#deps;
    const record = recordIn(stored, to, reason, isoTime(clock.now()));
    if ((await this.write(record, stored.revision)) === undefined) return;
    const { id: nodeId, incarnation } = record;
    const from = stored.record.state;
    log.info({ nodeId, incarnation, from, to, reason }, "node state changed");
    this.#meters.changes.of(to).inc();
    await this.#tell(record, from);
  }

  /**
   * Publishes the event of a life's recent end once more, under the same message id: whoever wrote
   * the end may have died before telling it, and the next life's record will not know of it.
   */
  async tellEndAgain(record: NodeRecord): Promise<void> {
    if (this.ageOf(record) >= TELL_AGAIN_MS) return;
    // A failure's state before it is not in the record; the first telling, if there was one, knew.
    const told = await this.#tell(record, record.state === "LEFT" ? "LEAVING" : "ACTIVE");
    if (!told) throw new RefusedError("unavailable", "events cannot be stored now", true);
  }

  /**
   * Removes a record whose life ended long ago. The marker has no TTL, as a purge with one may bring
   * the record back (nats-server issue 8505); it is 100 bytes, and the id's next life starts from it.
   */
  async archive(id: string, revision: number): Promise<void> {
    const { requester, log } = this.#deps;
    const headers = expecting(revision, [
      ["KV-Operation", "PURGE"],
      ["Nats-Rollup", "sub"],
    ]);
    const stored = await requester.stored(kvSubject(NODES_BUCKET.name, id), "", { headers });
    if (stored.kind === "stored") log.info({ nodeId: id, revision }, "record archived");
  }

  /** By the wall clock, of machines that need not agree: only for what may be early or late. */
  ageOf(record: NodeRecord): number {
    return this.#deps.clock.now() - timeOf(record.updatedAt);
  }

  /** Publishes the event of a change that is stored. A repeat is dropped by the server. */
  async #tell(record: NodeRecord, from: NodeState): Promise<boolean> {
    const { clock, instance, log, random, requester } = this.#deps;
    const kind = KIND_OF[record.state];
    if (kind === undefined) return true;
    const event: NodeEvent = {
      node: record.id,
      incarnation: record.incarnation,
      from,
      to: record.state,
      reason: record.reason,
      at: record.updatedAt,
      by: instance,
    };
    const h = headers();
    h.set("Nats-Msg-Id", nodeEventId(record.id, record.incarnation, kind));
    const subject = nodeEventSubject(record.id, kind);
    const options = { headers: h, timeoutMs: EVENT_TIMEOUT_MS };
    for (let failures = 1; failures <= EVENT_TRIES; failures++) {
      const stored = await requester.stored(subject, encode(event), options);
      if (stored.kind === "stored") return true;
      log.warn({ subject, stored }, "event not stored");
      if (stored.kind === "refused") return false;
      await clock.sleep(backoffMs(REQUEST_BACKOFF, failures, random));
    }
    return false;
  }
}
