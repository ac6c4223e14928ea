/** Flags and arguments as people type them, into values; each throws a usage error that says how. */
import { isCapability, isNodeId, isTaskId, Labels, parseDuration } from "@swarm-mesh/protocol";
import { usageError } from "./exit.ts";

/** `30s` → 30 000. */
export function durationFlag(flag: string, text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) {
    throw usageError(`${flag} ${show(text)} is no duration: 500ms, 30s, 5m or 2h, at most 24h`);
  }
  return ms;
}

/** `30s`, also in days: `7d` → 604 800 000. */
export function ageFlag(flag: string, text: string): number {
  const days = /^(\d{1,3})d$/.exec(text)?.[1];
  const ms = days === undefined ? parseDuration(text) : Number(days) * DAY_MS;
  if (ms !== undefined) return ms;
  throw usageError(`${flag} ${show(text)} is no age: 30s, 5m, 2h or 7d`);
}

const DAY_MS = 86_400_000;

/** `50/s` → 50 a second; also `300/m`. */
export function rateFlag(flag: string, text: string): number {
  const [, count, unit] = /^(\d{1,6})\/(s|m)$/.exec(text) ?? [];
  const perSecond = Number(count) / (unit === "m" ? 60 : 1);
  if (perSecond > 0) return perSecond;
  throw usageError(`${flag} ${show(text)} is no rate: 50/s or 300/m`);
}

/** The least and the most that a number may be. */
export interface Bounds {
  readonly min: number;
  readonly max: number;
}

/** A whole number within its bounds. Throws a usage error. */
export function countFlag(flag: string, text: string, { min, max }: Bounds): number {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (count >= min && count <= max) return count;
  throw usageError(`${flag} ${show(text)} is no whole number from ${min} to ${max}`);
}

/** `zone=eu` given any number of times. */
export function labelFlags(flag: string, texts: readonly string[]): Record<string, string> {
  const pairs = texts.flatMap((text) => text.split(",")).map((text) => splitOnce(text));
  const parsed = Labels.safeParse(Object.fromEntries(pairs.filter((pair) => pair !== undefined)));
  if (pairs.includes(undefined) || !parsed.success) {
    throw usageError(`${flag} ${show(texts.join(","))} is not like zone=eu,gpu=a100`);
  }
  return parsed.data;
}

function splitOnce(text: string): readonly [string, string] | undefined {
  const at = text.indexOf("=");
  return at < 1 ? undefined : [text.slice(0, at), text.slice(at + 1)];
}

/** `wordcount=wc -w` → the capability and what serves it. */
export function handleFlag(text: string): { readonly capability: string; readonly spec: string } {
  const pair = splitOnce(text);
  if (pair === undefined || pair[1].trim() === "") {
    throw usageError(
      `--handle ${show(text)} is not like wordcount="wc -w" or thumb=module:./thumb.js`,
    );
  }
  if (!isCapability(pair[0])) {
    throw usageError(`--handle ${show(text)}: a capability is 1 to 64 of A-Z a-z 0-9 _ -`);
  }
  return { capability: pair[0], spec: pair[1] };
}

/** Each capability once. */
export function handleFlags(texts: readonly string[]): readonly string[] {
  const seen = new Set<string>();
  for (const text of texts) {
    const { capability } = handleFlag(text);
    if (seen.has(capability)) throw usageError(`--handle: ${capability} is given twice`);
    seen.add(capability);
  }
  return texts;
}

/** An argument that is a node's id. Throws a usage error. */
export function nodeIdArg(text: string): string {
  if (isNodeId(text)) return text;
  throw usageError(`${show(text)} is no node id: 1 to 64 of A-Z a-z 0-9 _ -`);
}

/** An argument that is a task's id. Throws a usage error. */
export function taskIdArg(text: string): string {
  if (isTaskId(text)) return text;
  throw usageError(`${show(text)} is no task id: 1 to 64 of A-Z a-z 0-9 _ -`);
}

/** One of a few words. Throws a usage error that names them. */
export function choiceFlag<T extends string>(flag: string, text: string, choices: readonly T[]): T {
  const choice = choices.find((candidate) => candidate === text);
  if (choice !== undefined) return choice;
  throw usageError(`${flag} ${show(text)} is not one of ${choices.join(", ")}`);
}

function show(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}
