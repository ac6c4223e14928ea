import { join } from "node:path";
import { runCommand } from "./command.ts";
import { executableName, type Machine } from "./machine.ts";
import { PREFERRED_VERSION, versionOf } from "./version.ts";

/** Two cores build it in about two minutes; a slow machine gets ten. */
const BUILD_TIMEOUT_MS = 10 * 60_000;

/**
 * Builds nats-server into `dir` with the Go on this machine and returns its path and version. Go
 * checks the source against its checksum database.
 */
export async function buildWithGo(
  machine: Machine,
  dir: string,
  { report, signal }: { report: (line: string) => void; signal?: AbortSignal | undefined },
): Promise<{ readonly path: string; readonly version: string }> {
  await runCommand("go", ["version"], { timeoutMs: 10_000, env: machine.env, signal });
  report(`building nats-server ${PREFERRED_VERSION} with Go; this takes some minutes`);
  await runCommand("go", ["install", `github.com/nats-io/nats-server/v2@v${PREFERRED_VERSION}`], {
    cwd: dir,
    timeoutMs: BUILD_TIMEOUT_MS,
    env: { ...machine.env, GOBIN: dir, CGO_ENABLED: "0" },
    signal,
  });
  const path = join(dir, executableName(machine));
  return { path, version: await versionOf(path) };
}
