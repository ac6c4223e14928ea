/**
 * Which versions of nats-server will do.
 *
 * Below the minimum, parts of the mesh fail in silence: 2.10 accepts a TTL and ignores it, and
 * scheduled messages (retries) came with 2.12. Below the advised one security fixes are missing.
 */
import { runCommand } from "./command.ts";
import { ServerError } from "./errors.ts";

export const MINIMUM_VERSION = "2.12.0";
export const ADVISED_VERSION = "2.14.4";
/** The one we fetch when none is here: developed and tested against. */
export const PREFERRED_VERSION = "2.15.1";

/** Asking a binary for its version takes 20 ms; a loaded machine gets time to page it in. */
const VERSION_TIMEOUT_MS = 10_000;

/** How two versions compare: negative when `left` is older, 0 when equal. A pre-release is older than its release. */
export function compareVersions(left: string, right: string): number {
  const [leftParts, rightParts] = [partsOf(left), partsOf(right)];
  for (const index of [0, 1, 2, 3]) {
    const difference = (leftParts[index] ?? 0) - (rightParts[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** `2.15.1` of `nats-server: v2.15.1`; undefined when the text names no version. */
export function parseVersion(text: string): string | undefined {
  return /\bv?(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)/.exec(text)?.[1];
}

/** Runs `<path> -v`. Rejects when it cannot run or names no version. */
export async function versionOf(path: string): Promise<string> {
  const output = await runCommand(path, ["-v"], { timeoutMs: VERSION_TIMEOUT_MS });
  const version = parseVersion(output);
  if (version === undefined) {
    throw new ServerError("command-failed", `${path} -v names no version`);
  }
  return version;
}

/** What is wrong with a version: nothing, a warning, or a reason to refuse it. */
export function judgeVersion(
  version: string,
): { kind: "good" } | { kind: "warn" | "refuse"; problem: string } {
  if (compareVersions(version, MINIMUM_VERSION) < 0) {
    return {
      kind: "refuse",
      problem: `version ${version} is too old: ${MINIMUM_VERSION} or newer is needed`,
    };
  }
  if (compareVersions(version, ADVISED_VERSION) < 0) {
    return {
      kind: "warn",
      problem: `version ${version} lacks security fixes: ${ADVISED_VERSION} or newer is advised`,
    };
  }
  return { kind: "good" };
}

/** `[major, minor, patch, 0 or -1 for a pre-release]`. */
function partsOf(version: string): readonly number[] {
  const [release = "", preRelease] = version.split("-", 2);
  return [...release.split(".").map(Number), preRelease === undefined ? 0 : -1];
}
