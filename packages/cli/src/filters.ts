/** Filters that lists of tasks and of dead letters share, as they are typed and as they match. */
import { isCapability, TaskStatus } from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";
import { usageError } from "./exit.ts";
import { ageFlag, choiceFlag, nodeIdArg } from "./flags.ts";

/** The flags by which tasks and dead letters are chosen, as they were typed. */
export interface FilterFlags {
  readonly status?: string | undefined;
  readonly capability?: string | undefined;
  readonly node?: string | undefined;
  readonly olderThan?: string | undefined;
  readonly newerThan?: string | undefined;
  readonly error?: string | undefined;
  readonly search?: string | undefined;
}

/** What is chosen; of several conditions all must hold. */
export interface Filter {
  readonly status: TaskStatus | undefined;
  readonly capability: string | undefined;
  readonly node: string | undefined;
  /** Submitted before, and after, ms since the epoch. */
  readonly beforeMs: number | undefined;
  readonly afterMs: number | undefined;
  /** An error's code, or a part of its message, in lower case. */
  readonly error: string | undefined;
  /** Part of whatever is stored, in lower case. */
  readonly search: string | undefined;
}

/** What is looked for in one thing. */
export interface Subject {
  readonly status: string;
  readonly capability: string;
  readonly nodes: readonly string[];
  readonly submittedAtMs: number;
  readonly errors: readonly { readonly code: string; readonly message: string }[];
  /** All of it as text; made only when it is searched. */
  readonly text: () => string;
}

/** The flags, checked. Ages count from now. */
export function filterOf(flags: FilterFlags): Filter {
  const { status, capability, node, olderThan, newerThan, error, search } = flags;
  if (capability !== undefined && !isCapability(capability)) {
    throw usageError(`--capability ${JSON.stringify(capability)} is no capability`);
  }
  const nowMs = systemClock.now();
  const age = (flag: string, text: string | undefined): number | undefined =>
    text === undefined ? undefined : nowMs - ageFlag(flag, text);
  return {
    status: status === undefined ? undefined : choiceFlag("--status", status, TaskStatus.options),
    capability,
    node: node === undefined ? undefined : nodeIdArg(node),
    beforeMs: age("--older-than", olderThan),
    afterMs: age("--newer-than", newerThan),
    error: error?.toLowerCase(),
    search: search?.toLowerCase(),
  };
}

/** Does the filter let everything through? */
export function isOpen(filter: Filter): boolean {
  return Object.values(filter).every((value) => value === undefined);
}

/** Is this one chosen? */
export function matches(filter: Filter, subject: Subject): boolean {
  const { status, capability, node, beforeMs, afterMs, error, search } = filter;
  if (status !== undefined && subject.status !== status) return false;
  if (capability !== undefined && subject.capability !== capability) return false;
  if (node !== undefined && !subject.nodes.includes(node)) return false;
  if (beforeMs !== undefined && !(subject.submittedAtMs < beforeMs)) return false;
  if (afterMs !== undefined && !(subject.submittedAtMs >= afterMs)) return false;
  const isIt = (one: { readonly code: string; readonly message: string }): boolean =>
    one.code === error || one.message.toLowerCase().includes(error ?? "");
  if (error !== undefined && !subject.errors.some(isIt)) return false;
  return search === undefined || subject.text().toLowerCase().includes(search);
}
