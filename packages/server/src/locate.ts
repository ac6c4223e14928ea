/**
 * Finds a nats-server, or fetches one. Never at install time: only when a server is to be started.
 *
 *     NATS_SERVER ─► cache ─► PATH ─► official release ─► Debian package ─► go install ─► give up
 *     └───────── this machine only ─────────┘ └──────────── need the network ───────────┘
 *
 * What is fetched goes into the cache, so the second call needs no network and no more time than
 * hashing the file. `NATS_SERVER` is an order: when that binary will not do, nothing else is tried.
 */
import { join, resolve } from "node:path";
import { adopt, findCached, withWorkDir } from "./cache.ts";
import { type Attempt, NatsServerNotFound, problemOf } from "./errors.ts";
import { fetchFromApt } from "./fetch-apt.ts";
import { buildWithGo } from "./fetch-go.ts";
import { fetchRelease } from "./fetch-release.ts";
import { examine, findOnPath } from "./find-on-path.ts";
import { withLock } from "./lock.ts";
import { cacheDir, type Machine, thisMachine } from "./machine.ts";
import { MINIMUM_VERSION, PREFERRED_VERSION } from "./version.ts";

/** Where a binary came from. */
export type NatsServerSource = "env" | "cache" | "path" | "release" | "apt" | "go";

export interface NatsServerBinary {
  readonly path: string;
  readonly version: string;
  readonly source: NatsServerSource;
}

export interface LocateOptions {
  /** Told, in lines for people, what is being fetched, what is warned of and what is used at last. */
  readonly report?: (line: string) => void;
  /** Use only what this machine has. Also set by `NATS_SERVER_OFFLINE=1`. */
  readonly offline?: boolean;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
}

type Report = (line: string) => void;

const SOURCE_NAMES: Readonly<Record<NatsServerSource, string>> = {
  env: "NATS_SERVER",
  cache: "the cache",
  path: "PATH",
  release: "the official release",
  apt: "a Debian package",
  go: "go install",
};

/** The sources that need the network, in order. Each leaves a binary in the directory it is given. */
const FETCHERS = [
  { source: "release", name: "release", fetch: fetchRelease },
  { source: "apt", name: "apt", fetch: fetchFromApt },
  { source: "go", name: "go install", fetch: buildWithGo },
] as const;

/**
 * A nats-server that is new enough. Rejects with {@link NatsServerNotFound}, whose message is meant
 * for the person at the terminal. A repeat returns the same binary, from the cache.
 */
export async function locateNatsServer(options: LocateOptions = {}): Promise<NatsServerBinary> {
  return locateOn(thisMachine(options.env ?? process.env), options);
}

/** {@link locateNatsServer} on a machine described by the caller. */
export async function locateOn(
  machine: Machine,
  { report = () => undefined, offline = false, signal }: Omit<LocateOptions, "env"> = {},
): Promise<NatsServerBinary> {
  const use = (found: Usable, source: NatsServerSource): NatsServerBinary => {
    if (found.warning !== undefined) report(`warning: ${found.path}: ${found.warning}`);
    report(`nats-server ${found.version} from ${SOURCE_NAMES[source]}: ${found.path}`);
    return { path: found.path, version: found.version, source };
  };

  const ordered = machine.env["NATS_SERVER"];
  if (ordered !== undefined && ordered !== "")
    return use(await examineOrdered(resolve(ordered)), "env");

  const cached = await findCached(machine);
  if (cached.found !== undefined) return use(cached.found, "cache");
  const onPath = await findOnPath(machine);
  if (onPath.found !== undefined) return use(onPath.found, "path");
  const tried = [...cached.tried, ...onPath.tried];

  if (offline || machine.env["NATS_SERVER_OFFLINE"] === "1") {
    throw new NatsServerNotFound([...tried, { source: "network", problem: "offline" }], ADVICE);
  }
  const lock = { clock: machine.clock, signal };
  return withLock(join(cacheDir(machine), ".lock"), lock, async () => {
    // Whoever held the lock before us was most likely fetching the same.
    const again = await findCached(machine);
    if (again.found !== undefined) return use(again.found, "cache");
    const fetched = await fetchFirst(machine, tried, report, signal);
    return use(fetched, fetched.source);
  });
}

interface Usable {
  readonly path: string;
  readonly version: string;
  readonly warning?: string;
}

async function examineOrdered(path: string): Promise<Usable> {
  try {
    return await examine(path);
  } catch (error) {
    throw new NatsServerNotFound(
      [{ source: "NATS_SERVER", problem: `${path}: ${problemOf(error)}` }],
      [`point NATS_SERVER to a nats-server ${MINIMUM_VERSION} or newer, or unset it`],
    );
  }
}

async function fetchFirst(
  machine: Machine,
  triedBefore: readonly Attempt[],
  report: Report,
  signal: AbortSignal | undefined,
): Promise<Usable & { readonly source: NatsServerSource }> {
  const tried = [...triedBefore];
  for (const { source, name, fetch } of FETCHERS) {
    signal?.throwIfAborted();
    try {
      return await withWorkDir(machine, async (dir) => {
        const { path, version } = await fetch(machine, dir, { report, signal });
        return { ...(await adopt(machine, path, version)), source };
      });
    } catch (error) {
      tried.push({ source: name, problem: problemOf(error) });
    }
  }
  throw new NatsServerNotFound(tried, ADVICE);
}

const ADVICE = [
  "export NATS_SERVER=/path/to/nats-server          one you have",
  `go install github.com/nats-io/nats-server/v2@v${PREFERRED_VERSION}   with Go, then have $(go env GOPATH)/bin on PATH`,
  "brew install nats-server                         macOS; others: your system's package",
  "export NATS_SERVER_DOWNLOAD_BASE=https://…       a mirror that holds v<version>/SHA256SUMS and the files",
  `https://github.com/nats-io/nats-server/releases/tag/v${PREFERRED_VERSION}   by hand, onto PATH`,
] as const;
