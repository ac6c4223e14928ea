/** What operators have set, told to the fleet: paused capabilities and cordoned nodes. */
import { BucketView } from "@swarm-mesh/bus";
import type { ServiceDeps } from "@swarm-mesh/process";
import {
  CapabilitySetting,
  capabilitySettingKey,
  decode,
  NodeSetting,
  nodeSettingKey,
  SETTINGS_BUCKET,
} from "@swarm-mesh/protocol";
import type { Fleet } from "./fleet.ts";

const CAPABILITY_PREFIX = capabilitySettingKey("");
const NODE_PREFIX = nodeSettingKey("");

type Setting = CapabilitySetting | NodeSetting;

/** A view of the settings that keeps the fleet up to date while it runs. */
export function settingsFor(fleet: Fleet, deps: Omit<ServiceDeps, "ready">): BucketView<Setting> {
  return new BucketView<Setting>({
    ...deps,
    bucket: SETTINGS_BUCKET,
    decode: (key, value) =>
      key.startsWith(CAPABILITY_PREFIX)
        ? decode(CapabilitySetting, value)
        : decode(NodeSetting, value),
    onChange: ({ key, after }) => {
      // A setting that was taken away is as one that was never made.
      if (key.startsWith(CAPABILITY_PREFIX)) {
        fleet.pause(key.slice(CAPABILITY_PREFIX.length), after?.["paused"] === true);
      } else if (key.startsWith(NODE_PREFIX)) {
        fleet.cordon(key.slice(NODE_PREFIX.length), after?.["cordoned"] === true);
      }
      deps.log.info({ key, setting: after ?? null }, "setting changed");
    },
  });
}
