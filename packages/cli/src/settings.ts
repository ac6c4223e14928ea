/** What operators have set: read for those who look, changed by compare-and-swap. */
import { JetStreamApiError, jetstream } from "@nats-io/jetstream";
import { Bucket, Requester } from "@swarm-mesh/bus";
import {
  CapabilitySetting,
  capabilitySettingKey,
  check,
  encode,
  kvSubject,
  NodeSetting,
  nodeSettingKey,
  SETTINGS_BUCKET,
} from "@swarm-mesh/protocol";
import { readEntries } from "./entries.ts";
import { CliError, Exit } from "./exit.ts";
import type { Session } from "./session.ts";

/** What operators hold back. */
export interface Settings {
  /** Capabilities that are paused, and who said so. */
  readonly paused: ReadonlyMap<string, CapabilitySetting>;
  /** Nodes that are cordoned, and who said so. */
  readonly cordoned: ReadonlyMap<string, NodeSetting>;
}

/** Nothing is held back. */
export const NO_SETTINGS: Settings = { paused: new Map(), cordoned: new Map() };

const CAPABILITY_PREFIX = capabilitySettingKey("");
const NODE_PREFIX = nodeSettingKey("");
/** Two people at once are rare; so many in a row are something else. */
const SWAPS_MAX = 5;
/** JetStream's error codes. */
const STREAM_NOT_FOUND = 10059;
const WRONG_LAST_SEQUENCE = 10071;

/** Everything that is set now. Needs a key that may read the bucket: admin or viewer. */
export async function readSettings(session: Session): Promise<Settings> {
  try {
    return settingsOf(await readEntries(session, SETTINGS_BUCKET));
  } catch (error) {
    // Services of an older version have not made the bucket: then nothing is set.
    if (error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND) return NO_SETTINGS;
    throw error;
  }
}

/** Sorts a bucket's entries; what is not in force, or cannot be read, is left out. */
export function settingsOf(entries: Iterable<readonly [string, unknown]>): Settings {
  const paused = new Map<string, CapabilitySetting>();
  const cordoned = new Map<string, NodeSetting>();
  for (const [key, value] of entries) {
    if (key.startsWith(CAPABILITY_PREFIX)) {
      const setting = check(CapabilitySetting, value);
      if (setting.ok && setting.value.paused) {
        paused.set(key.slice(CAPABILITY_PREFIX.length), setting.value);
      }
    } else if (key.startsWith(NODE_PREFIX)) {
      const setting = check(NodeSetting, value);
      if (setting.ok && setting.value.cordoned) {
        cordoned.set(key.slice(NODE_PREFIX.length), setting.value);
      }
    }
  }
  return { paused, cordoned };
}

/** Writes what `change` makes of the setting there is; `undefined`: it is as it should be. */
export async function changeSetting(
  session: Session,
  key: string,
  change: (bytes: Uint8Array | undefined) => CapabilitySetting | NodeSetting | undefined,
): Promise<"changed" | "unchanged"> {
  const { inboxPrefix, timeoutMs } = session.target;
  const manager = await session.manager();
  const bucket = new Bucket(SETTINGS_BUCKET, manager, new Requester(session.nc, { inboxPrefix }));
  for (let swap = 0; swap < SWAPS_MAX; swap++) {
    const entry = await bucket.read(key);
    const value = change(entry?.value);
    if (value === undefined) return "unchanged";
    try {
      // By the library and not by `Bucket.write`: it tells a person at once what is forbidden.
      await jetstream(session.nc).publish(kvSubject(SETTINGS_BUCKET.name, key), encode(value), {
        expect: { lastSubjectSequence: entry?.revision ?? 0 },
        timeout: timeoutMs,
      });
      return "changed";
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === WRONG_LAST_SEQUENCE) continue;
      throw error;
    }
  }
  throw new CliError(Exit.conflict, "conflict", `${key} is being changed by others; try again`);
}
