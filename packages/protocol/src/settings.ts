/**
 * What operators have set, in `mesh_settings`: it holds until they set it otherwise, whoever leads
 * and whatever is started again.
 */
import { z } from "zod";

/** Who set it, when, and why. */
const SET = {
  /** Why, for people; `""`: nothing was said. */
  reason: z.string().max(1_024).default(""),
  /** Who said so, for people. */
  by: z.string().max(256).default(""),
  at: z.iso.datetime(),
};

/** The value of `capability.<capability>`: while `paused` no task of it is given to a node. */
export const CapabilitySetting = z.looseObject({ paused: z.boolean(), ...SET });
export type CapabilitySetting = z.infer<typeof CapabilitySetting>;

/** The value of `node.<node>`: while `cordoned` the node is given nothing new, in any of its lives. */
export const NodeSetting = z.looseObject({ cordoned: z.boolean(), ...SET });
export type NodeSetting = z.infer<typeof NodeSetting>;
