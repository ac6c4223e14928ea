import { homedir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock } from "@swarm-mesh/runtime";

/** What the locator needs to know of the machine it runs on. */
export interface Machine {
  readonly env: NodeJS.ProcessEnv;
  readonly platform: NodeJS.Platform;
  /** Node's name for the processor: `x64`, `arm64`, … */
  readonly arch: string;
  readonly home: string;
  /** Where apt keeps its list of mirrors. */
  readonly aptDir: string;
  /** Debian's keys, to check its signatures with. */
  readonly debianKeyring: string;
  /** Searched after `PATH`: Debian puts servers where an ordinary user's `PATH` does not look. */
  readonly extraDirs: readonly string[];
  readonly clock: Clock;
}

/** The machine we are on. */
export function thisMachine(env: NodeJS.ProcessEnv): Machine {
  return {
    env,
    platform: process.platform,
    arch: process.arch,
    home: homedir(),
    aptDir: "/etc/apt",
    debianKeyring: "/usr/share/keyrings/debian-archive-keyring.gpg",
    extraDirs: ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"],
    clock: systemClock,
  };
}

/** The file name of the server on this platform. */
export function executableName({ platform }: Machine): string {
  return platform === "win32" ? "nats-server.exe" : "nats-server";
}

/** `$XDG_CACHE_HOME/swarm-mesh/nats-server`, else under `~/.cache`. An empty variable counts as unset. */
export function cacheDir({ env, home }: Machine): string {
  const base = env["XDG_CACHE_HOME"] || join(home, ".cache");
  return join(base, "swarm-mesh", "nats-server");
}
