/**
 * Makes sure that every stream and bucket is as written in the protocol package: creates what is
 * missing, refuses what differs. Never patches: a changed limit is a person's decision.
 */
import { JetStreamApiError, type JetStreamManager, type StreamConfig } from "@nats-io/jetstream";
import {
  BUCKETS,
  type BucketSpec,
  kvSubject,
  STREAMS,
  type StreamSpec,
} from "@swarm-mesh/protocol";
import { type NatsConnection, nanos } from "nats";
import { bucketStream } from "./bucket.ts";

/** The server or what it stores is not what the mesh needs; a person must look. */
export class StoreMismatchError extends Error {
  override readonly name = "StoreMismatchError";
  readonly code = "store_mismatch";
}

/** Per-message TTLs, delete markers and scheduled messages need it. */
export const SERVER_VERSION_MIN = "2.12.0";

const STREAM_NOT_FOUND = 10059;

/** Creates or verifies every stream and bucket. A repeat changes nothing. */
export async function ensureStores(
  nc: NatsConnection,
  manager: JetStreamManager,
  replicas: number,
): Promise<void> {
  requireServer(nc);
  for (const spec of STREAMS) await ensureStream(manager, streamConfig(spec, replicas));
  for (const spec of BUCKETS) await ensureStream(manager, bucketConfig(spec, replicas));
}

/** Older servers take TTLs and schedules without a word and never act on them. */
function requireServer(nc: NatsConnection): void {
  const version = nc.info?.version ?? "0.0.0";
  if (!atLeast(version, SERVER_VERSION_MIN)) {
    throw new StoreMismatchError(
      `nats-server is ${version}; at least ${SERVER_VERSION_MIN} is needed (2.15.1 or newer is best)`,
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

type Wanted = Partial<StreamConfig> & { readonly name: string };

async function ensureStream(manager: JetStreamManager, wanted: Wanted): Promise<void> {
  const found = await currentConfig(manager, wanted.name);
  if (found === undefined) {
    // Two replicas may create it at once: the same configuration again is no error.
    await manager.streams.add(wanted as StreamConfig);
    return;
  }
  const differences = driftOf(wanted, found);
  if (differences.length > 0) {
    throw new StoreMismatchError(
      `stream ${wanted.name} is not as the mesh needs it: ${differences.join("; ")}. ` +
        "Change it with `nats stream edit`, or change the mesh's own limits to match.",
    );
  }
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

function streamConfig(spec: StreamSpec, replicas: number): Wanted {
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
    ...(spec.schedules ? { allow_msg_schedules: true } : {}),
  };
}

function bucketConfig(spec: BucketSpec, replicas: number): Wanted {
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
