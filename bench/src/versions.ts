/** What is measured, and on what: printed with every run, because figures mean nothing without. */
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { availableParallelism, cpus, release, totalmem } from "node:os";
import { promisify } from "node:util";
import { VERSION } from "@swarm-mesh/protocol";
import { locateNatsServer } from "@swarm-mesh/server";

export interface Versions {
  readonly machine: string;
  readonly kernel: string;
  readonly node: string;
  readonly mesh: string;
  readonly natsServer: string;
  /** `undefined`: there is none on PATH. */
  readonly redisServer: string | undefined;
  readonly packages: Readonly<Record<string, string>>;
}

export const REDIS_ADVICE =
  "redis-server is not on PATH, so BullMQ is left out; apt-get install redis-server, or brew install redis";

const PACKAGES = ["bullmq", "ioredis", "nats", "@nats-io/jetstream"];

export async function versions(): Promise<Versions> {
  const { version: natsServer } = await locateNatsServer();
  const gib = Math.round(totalmem() / 1024 ** 3);
  return {
    machine: `${availableParallelism()} × ${cpus()[0]?.model ?? "?"}, ${gib} GiB`,
    kernel: release(),
    node: process.versions.node,
    mesh: VERSION,
    natsServer,
    redisServer: await redisVersion(),
    packages: Object.fromEntries(PACKAGES.map((name) => [name, packageVersion(name)])),
  };
}

async function redisVersion(): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)("redis-server", ["--version"]);
    return /v=(\S+)/.exec(stdout)?.[1];
  } catch {
    // Not there.
    return undefined;
  }
}

function packageVersion(name: string): string {
  const require = createRequire(import.meta.url);
  // A package may not export its manifest, but is always found below one of these.
  for (const path of require.resolve.paths(name) ?? []) {
    try {
      const manifest = require(`${path}/${name}/package.json`) as { readonly version: string };
      return manifest.version;
    } catch {
      // Not in this one.
    }
  }
  return "?";
}
