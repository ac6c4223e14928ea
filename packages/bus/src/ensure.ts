/**
 * Makes sure that every stream and bucket is as written in the protocol package: creates what is
 * missing, refuses what differs. Never patches: a changed limit is a person's decision.
 */
import { JetStreamApiError, type JetStreamManager, type StreamConfig } from "@nats-io/jetstream";
import {
  BUCKETS,
  type BucketSpec,
  kvSubject,
  LEASES_BUCKET,
  PAYLOAD_MAX_BYTES,
  STREAMS,
  type StreamSpec,
} from "@swarm-mesh/protocol";
import { type NatsConnection, NoRespondersError, nanos, RequestError, TimeoutError } from "nats";
import { bucketStream } from "./bucket.ts";

/** The server or what it stores is not what the mesh needs; a person must look. */
export class StoreMismatchError extends Error {
  override readonly name = "StoreMismatchError";
  readonly code = "store_mismatch";
}

/** Per-message TTLs, delete markers and scheduled messages need it. */
export const SERVER_VERSION_MIN = "2.12.0";

const STREAM_NOT_FOUND = 10059;

/** Copies of everything on a cluster: one server may be lost, whatever the cluster's size. */
const CLUSTER_REPLICAS = 3;

/**
 * Creates or verifies every stream and bucket, and returns how many copies of the leases there are.
 * A repeat changes nothing. `replicas` left out: what is there stays as it is, and what is made has
 * one copy on one server and three on a cluster.
 *
 * Throws {@link StoreMismatchError} when a person must look; for the rest see {@link isPassing}.
 */
export async function ensureStores(
  nc: NatsConnection,
  manager: JetStreamManager,
  replicas?: number,
): Promise<number> {
  requireServer(nc);
  const copies = replicas ?? (isClustered(nc) ? CLUSTER_REPLICAS : 1);
  const wanted = wantedStores(copies);
  let inForce = copies;
  for (const each of wanted) {
    const found = await ensureStream(manager, each, replicas === undefined);
    if (each.name === bucketStream(LEASES_BUCKET)) inForce = found;
  }
  return inForce;
}

/** Every stream as the mesh needs it, those beneath buckets among them. */
export function wantedStores(replicas: number): readonly WantedStore[] {
  return [
    ...STREAMS.map((spec) => streamConfig(spec, replicas)),
    ...BUCKETS.map((spec) => bucketConfig(spec, replicas)),
  ];
}

function isClustered(nc: NatsConnection): boolean {
  return nc.info?.cluster !== undefined && nc.info.cluster !== "";
}

/**
 * Is this failure of the store one that time cures? A cluster that starts, or that has lost a server, is
 * without a leader for some seconds, and takes no new stream before all of its servers are there.
 */
export function isPassing(error: unknown): boolean {
  if (error instanceof JetStreamApiError) return PASSING_CODES.has(error.code);
  return (
    error instanceof TimeoutError ||
    error instanceof NoRespondersError ||
    error instanceof RequestError ||
    // What the library makes of "no responders" to its own requests, and does not export.
    (error instanceof Error && error.name === "JetStreamNotEnabled")
  );
}

/**
 * The server's own names for them: incomplete results, no suitable peers, system temporarily
 * unavailable, cluster can not handle request, insufficient resources (two), name in use (another
 * process is just making it), stream is offline, consumer is offline.
 */
const PASSING_CODES = new Set([10004, 10005, 10008, 10009, 10023, 10074, 10058, 10118, 10119]);

/** JetStream's code for `consumer not found`. */
const CONSUMER_NOT_FOUND = 10014;

/** Does the server say that there is no such consumer? */
export function isNoConsumer(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === CONSUMER_NOT_FOUND;
}

/** A server that takes less would cut off whoever submits a task of the size that is allowed. */
const MESSAGE_MIN_BYTES = PAYLOAD_MAX_BYTES;

/** Older servers take TTLs and schedules without a word and never act on them. */
function requireServer(nc: NatsConnection): void {
  const version = nc.info?.version ?? "0.0.0";
  if (!atLeast(version, SERVER_VERSION_MIN)) {
    throw new StoreMismatchError(
      `nats-server is ${version}; at least ${SERVER_VERSION_MIN} is needed (2.15.1 or newer is best)`,
    );
  }
  const largest = nc.info?.max_payload ?? 0;
  if (largest < MESSAGE_MIN_BYTES) {
    throw new StoreMismatchError(
      `nats-server takes messages of ${largest} bytes at most; max_payload must be at least ` +
        `${MESSAGE_MIN_BYTES}, 2MB is best`,
    );
  }
}

/** Is `version` at least `least`? Pre-release suffixes are ignored. */
export function atLeast(version: string, least: string): boolean {
  const parts = (text: string): number[] => text.split(/[.-]/, 3).map((part) => Number(part) || 0);
  const [have, want] = [parts(version), parts(least)];
  for (let index = 0; index < 3; index++) {
    const difference = (have[index] ?? 0) - (want[index] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

/** A stream's configuration, as far as it is ours to say. */
export type WantedStore = Partial<StreamConfig> & { readonly name: string };

/** How many copies of it there are. `anyCopies`: their number is not ours to say. */
async function ensureStream(
  manager: JetStreamManager,
  wanted: WantedStore,
  anyCopies: boolean,
): Promise<number> {
  const found = await currentConfig(manager, wanted.name);
  if (found === undefined) {
    // Two replicas may create it at once: the same configuration again is no error.
    return (await manager.streams.add(wanted as StreamConfig)).config.num_replicas;
  }
  const expected = anyCopies ? { ...wanted, num_replicas: found.num_replicas } : wanted;
  const differences = driftOf(expected, found);
  if (differences.length > 0) {
    throw new StoreMismatchError(
      `stream ${wanted.name} is not as the mesh needs it: ${differences.join("; ")}. ` +
        "Change it with `nats stream edit`, or change the mesh's own limits to match.",
    );
  }
  return found.num_replicas;
}

async function currentConfig(
  manager: JetStreamManager,
  name: string,
): Promise<StreamConfig | undefined> {
  try {
    return (await manager.streams.info(name)).config;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND) return undefined;
    throw error;
  }
}

/** What differs between a wanted and a found configuration, one sentence a field. */
export function driftOf(wanted: object, found: object): string[] {
  const fields = new Map<string, unknown>(Object.entries(found));
  return Object.entries(wanted).flatMap(([field, value]) => {
    const there = fields.get(field);
    // The server leaves out what is false, zero or empty.
    const same = stable(value) === stable(there) || (!there && !value);
    return same ? [] : [`${field} is ${stable(there)}, expected ${stable(value)}`];
  });
}

function stable(value: unknown): string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return JSON.stringify(value) ?? "not set";
  }
  return JSON.stringify(Object.fromEntries(Object.entries(value).sort()));
}

function streamConfig(spec: StreamSpec, replicas: number): WantedStore {
  return {
    name: spec.name,
    description: spec.description,
    subjects: [...spec.subjects],
    retention: spec.retention,
    discard: spec.discard,
    storage: "file",
    num_replicas: replicas,
    max_age: nanos(spec.maxAgeMs),
    max_bytes: spec.maxBytes,
    max_msg_size: spec.maxMsgBytes,
    duplicate_window: nanos(spec.duplicateWindowMs),
    allow_direct: true,
    // A submit must not be able to ask that it vanish, so no message has a TTL.
    allow_msg_ttl: false,
    ...(spec.sealed ? { deny_delete: true, deny_purge: true } : {}),
    ...(spec.schedules ? { allow_msg_schedules: true } : {}),
  };
}

function bucketConfig(spec: BucketSpec, replicas: number): WantedStore {
  return {
    name: bucketStream(spec),
    description: spec.description,
    subjects: [kvSubject(spec.name, ">")],
    retention: "limits",
    discard: "new",
    storage: "file",
    num_replicas: replicas,
    max_msgs_per_subject: spec.history,
    max_age: nanos(spec.maxAgeMs),
    max_bytes: spec.maxBytes,
    max_msg_size: spec.maxValueBytes,
    allow_rollup_hdrs: true,
    deny_delete: true,
    allow_direct: true,
    allow_msg_ttl: true,
    subject_delete_marker_ttl: nanos(spec.markerTtlMs),
    ...(spec.republish === undefined
      ? {}
      : { republish: { src: spec.republish.source, dest: spec.republish.destination } }),
  };
}
