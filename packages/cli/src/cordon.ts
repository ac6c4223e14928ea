/** `swarmctl node cordon|uncordon` and `swarmctl capability pause|resume`: what is given no work. */
import {
  CapabilitySetting,
  capabilitySettingKey,
  decode,
  isCapability,
  isGone,
  NodeSetting,
  nodeSettingKey,
} from "@swarm-mesh/protocol";
import type { Call } from "./call.ts";
import { usageError } from "./exit.ts";
import { nodeIdArg } from "./flags.ts";
import { readNodes } from "./node-records.ts";
import { operate } from "./operate.ts";
import { print } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { changeSetting } from "./settings.ts";

/** The flags of commands that hold something back. */
export interface ReasonFlags {
  readonly reason?: string;
}

const REASON_MAX_CHARS = 1_024;

/** Holds a capability's tasks back, or lets them go again. A repeat changes nothing. */
export async function pauseCapability(call: Call<ReasonFlags>, paused: boolean): Promise<void> {
  const capability = call.args[0] ?? "";
  if (!isCapability(capability)) {
    throw usageError(`${JSON.stringify(capability.slice(0, 80))} is no capability`);
  }
  const reason = reasonFlag(call.flags);
  const action = paused ? ("capability.pause" as const) : ("capability.resume" as const);
  await withSession(call, "admin", async (session) => {
    const change = await operate(session, { action, target: capability, reason }, (doer) =>
      changeSetting(session, capabilitySettingKey(capability), (bytes) => {
        const now = bytes === undefined ? undefined : decode(CapabilitySetting, bytes);
        const same = (now?.ok === true && now.value.paused) === paused;
        return same && reason === "" ? undefined : { paused, reason, ...doer };
      }),
    );
    const offeredBy = await offering(session, capability);
    const value = { capability, paused, change, offeredBy };
    print(call.io, session.format, value, () => {
      const state = paused ? "is paused: what runs goes on, the rest waits" : "is not paused";
      const nobody = offeredBy.length === 0 ? "; no node offers it now" : "";
      return `${capability} ${state}${nobody}\n`;
    });
  });
}

/** Has a node given nothing new, or gives it work again. A repeat changes nothing. */
export async function cordonNode(call: Call<ReasonFlags>, cordoned: boolean): Promise<void> {
  const id = nodeIdArg(call.args[0] ?? "");
  const reason = reasonFlag(call.flags);
  const action = cordoned ? ("node.cordon" as const) : ("node.uncordon" as const);
  await withSession(call, "admin", async (session) => {
    const change = await operate(session, { action, target: id, reason }, (doer) =>
      changeSetting(session, nodeSettingKey(id), (bytes) => {
        const now = bytes === undefined ? undefined : decode(NodeSetting, bytes);
        const same = (now?.ok === true && now.value.cordoned) === cordoned;
        return same && reason === "" ? undefined : { cordoned, reason, ...doer };
      }),
    );
    const known = await knows(session, id);
    print(call.io, session.format, { id, cordoned, change, known }, () => {
      const state = cordoned
        ? "is cordoned: it keeps its tasks and is given nothing new"
        : "is not cordoned";
      return `${id} ${state}${known ? "" : "; the mesh knows no such node now"}\n`;
    });
  });
}

function reasonFlag({ reason = "" }: ReasonFlags): string {
  if (reason.length <= REASON_MAX_CHARS) return reason;
  throw usageError(`--reason is longer than ${REASON_MAX_CHARS} characters`);
}

/** Nodes that offer it now, so that a wrong name is seen. */
async function offering(session: Session, capability: string): Promise<readonly string[]> {
  return (await readNodes(session))
    .filter(({ state, capabilities }) => !isGone(state) && capabilities.includes(capability))
    .map(({ id }) => id);
}

/** Is there a record of this node? */
async function knows(session: Session, id: string): Promise<boolean> {
  return (await readNodes(session)).some((node) => node.id === id);
}
