/** The store: all buckets and streams of a mesh, and whether they are to be had. */
import type { Stored } from "@swarm-mesh/bus";
import { Header, lastTokenOf, MESH_RETRIES, MESH_TASKS } from "@swarm-mesh/protocol";
import { timeOf } from "@swarm-mesh/runtime";
import type { MsgHdrs } from "nats";
import { Bucket, type OnAccepted } from "./buckets.ts";
import { bytesOf, readerOf } from "./mail.ts";
import { EPOCH_MS } from "./process.ts";
import type { Dice, Scheduler } from "./scheduler.ts";
import { Stream, type StreamMessage } from "./streams.ts";

export interface StoreServerOptions {
  readonly scheduler: Scheduler;
  readonly dice: Dice;
  readonly dedupeMs: number;
  readonly onAccepted: OnAccepted;
  readonly onStored: (message: StreamMessage) => void;
  readonly onGone: (message: StreamMessage) => void;
  readonly onDead: (task: string, status: "failed" | "rejected") => void;
}

export class StoreServer {
  readonly nodes: Bucket;
  readonly leases: Bucket;
  readonly tasks: Bucket;
  readonly checkpoints: Bucket;
  readonly submits: Stream;
  readonly retries: Stream;
  readonly events: Stream;
  readonly dead: Stream;
  #up = true;

  constructor(options: StoreServerOptions) {
    const { scheduler, dice, onStored, onGone, dedupeMs } = options;
    const server = { scheduler, dice, isUp: () => this.#up };
    const bucket = (name: string): Bucket => new Bucket(name, server, options.onAccepted);
    this.nodes = bucket("nodes");
    this.leases = bucket("leases");
    this.tasks = bucket("tasks");
    this.checkpoints = bucket("checkpoints");
    const quiet = { onStored: () => undefined, onGone: () => undefined };
    const queue = { ...server, isQueue: true, dedupeMs, onStored, onGone };
    this.submits = new Stream({ ...queue, name: MESH_TASKS.name });
    this.retries = new Stream({ ...queue, name: MESH_RETRIES.name });
    const log = { ...server, ...quiet, isQueue: false, dedupeMs };
    this.events = new Stream({ ...log, name: "events" });
    const onDead = ({ subject, headers }: StreamMessage): void => {
      const status = readerOf(headers).get(Header.status);
      options.onDead(lastTokenOf(subject), status === "rejected" ? status : "failed");
    };
    this.dead = new Stream({ ...log, name: "dead", onStored: onDead });
  }

  /** Does it answer? */
  get up(): boolean {
    return this.#up;
  }

  fail(): void {
    this.#up = false;
  }

  recover(): void {
    this.#up = true;
    for (const stream of [this.submits, this.retries, this.events]) {
      for (const consumer of stream.consumers.values()) consumer.serve();
    }
  }

  bucketOf(name: string): Bucket {
    if (name === "mesh_leases") return this.leases;
    return name === "mesh_tasks" ? this.tasks : this.checkpoints;
  }

  /** A publish that is answered: to a stream, or to a key's subject `$KV.<bucket>.<key>`. */
  write(subject: string, body: unknown, headers: MsgHdrs | undefined): Stored {
    const read = readerOf(headers);
    const [root, kind, verb] = subject.split(".");
    if (root === "$KV") return this.#writeKey(subject, body, headers);
    const message = { subject, body: bytesOf(body), headers };
    if (verb === "delayed") {
      const dueAt = timeOf(read.get("Nats-Schedule").slice("@at ".length)) - EPOCH_MS;
      this.retries.schedule(message, read.get("Nats-Schedule-Target"), dueAt);
      return { kind: "stored", revision: 0, duplicate: false };
    }
    const stream = kind === "dead" ? this.dead : verb === "retry" ? this.retries : this.submits;
    const { seq, duplicate } = stream.publish(message, read.get(Header.msgId) || undefined);
    return { kind: "stored", revision: seq, duplicate };
  }

  #writeKey(subject: string, body: unknown, sent: MsgHdrs | undefined): Stored {
    const headers = readerOf(sent);
    const [, bucket = "", ...key] = subject.split(".");
    const expected = headers.get("Nats-Expected-Last-Subject-Sequence");
    const ttl = headers.get("Nats-TTL");
    const isPurge = headers.get("KV-Operation") === "PURGE";
    const value = bucket === "mesh_checkpoints" ? body : JSON.parse(String(body) || "null");
    return this.bucketOf(bucket).write(key.join("."), isPurge ? undefined : value, {
      expected: expected === "" ? undefined : Number(expected),
      ttlMs: ttl === "" ? undefined : Number(ttl.slice(0, -1)) * 1_000,
      headers: sent,
    });
  }
}
