/**
 * The grammar of every name that becomes part of a subject or a key.
 *
 * One token of letters, digits, `_` and `-`: a name can never hold a wildcard, a separator or a
 * control character, so it can be put into a subject without escaping.
 */
import { z } from "zod";

const TOKEN = /^[A-Za-z0-9_-]{1,64}$/;
const TOKEN_MAX_CHARS = 64;

const token = (what: string) =>
  z.string().regex(TOKEN, {
    error: `${what} must be 1 to 64 characters of A-Z a-z 0-9 _ -`,
  });

/** A task's id: chosen by the caller in `Nats-Msg-Id`, else `s<stream sequence>`. */
export const TaskId = token("a task id");
/** A node's id: the name of its user in the `NODES` account. */
export const NodeId = token("a node id");
/** The kind of work: a task names one, a node offers several. */
export const Capability = token("a capability");
/** An executor on a node. */
export const AgentName = token("an agent's name");

/** The services of a mesh, in the order they are started and people name them. */
export const SERVICES = [
  "registry",
  "coordinator",
  "health-monitor",
  "migrator",
  "authenticator",
] as const;
export type ServiceName = (typeof SERVICES)[number];

/** A task's priority class. `high` goes before `normal`, `normal` before `low`. */
export const Lane = z.enum(["high", "normal", "low"]);
export type Lane = z.infer<typeof Lane>;

/** A label's name or value: a word of at most 64 characters, dots and slashes allowed. */
const LabelWord = z.string().regex(/^[A-Za-z0-9_./-]{1,64}$/, {
  error: "a label's name and value must be 1 to 64 characters of A-Z a-z 0-9 _ . / -",
});

/** What a node says of itself for placement: `{ gpu: "a100", zone: "eu" }`; at most 64. */
export const Labels = z
  .record(LabelWord, LabelWord)
  .refine((labels) => Object.keys(labels).length <= 64, { error: "at most 64 labels" });
export type Labels = z.infer<typeof Labels>;

export const isTaskId = (value: string): boolean => TOKEN.test(value);
export const isNodeId = (value: string): boolean => TOKEN.test(value);
export const isCapability = (value: string): boolean => TOKEN.test(value);

/**
 * The id of a dead task's next life: of the task, and of its letter's place in `MESH_DEAD`. The same for
 * the same letter, so that a repeat is no new task: a final record keeps the old id from running again.
 */
export function retryId(task: string, letterSeq: number): string {
  const suffix = `-r${letterSeq}`;
  return `${task.slice(0, TOKEN_MAX_CHARS - suffix.length)}${suffix}`;
}
