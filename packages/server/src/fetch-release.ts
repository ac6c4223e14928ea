import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { sha256Of } from "./cache.ts";
import { runCommand } from "./command.ts";
import { problemOf, ServerError } from "./errors.ts";
import { executableName, type Machine } from "./machine.ts";
import { PREFERRED_VERSION, versionOf } from "./version.ts";

/** Where `<base>/v<version>/<file>` is a file of the project's releases. */
const RELEASE_BASE = "https://github.com/nats-io/nats-server/releases/download";

/**
 * Checksums of release files that we have seen ourselves, by file name. Where one is written here,
 * a file must match it and the release's own list. It is empty: the checksums of 2.15.1 could not
 * be read from the release when this was written, and none is taken from anywhere else. So for now
 * a download is exactly as trustworthy as the `SHA256SUMS` of the same release.
 */
const PINNED_SHA256: Readonly<Record<string, string>> = {};

/** The list is small: when it is not here in this time, the network is not open. */
const PROBE_TIMEOUT_MS = 5_000;
/** 7 MB at 64 kB/s. */
const DOWNLOAD_TIMEOUT_MS = 120_000;
const EXTRACT_TIMEOUT_MS = 60_000;

const OS_NAMES: Readonly<Record<string, string>> = {
  darwin: "darwin",
  freebsd: "freebsd",
  linux: "linux",
  win32: "windows",
};
const ARCH_NAMES: Readonly<Record<string, string>> = {
  arm: "arm7",
  arm64: "arm64",
  ia32: "386",
  loong64: "loong64",
  ppc64: "ppc64le",
  riscv64: "riscv64",
  s390x: "s390x",
  x64: "amd64",
};

interface FetchOptions {
  readonly report: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
  readonly pinned?: Readonly<Record<string, string>>;
}

/** Downloads the official release into `dir`, checks it, and returns the binary's path and version. */
export async function fetchRelease(
  machine: Machine,
  dir: string,
  { report, signal, pinned = PINNED_SHA256 }: FetchOptions,
): Promise<{ readonly path: string; readonly version: string }> {
  const stem = releaseStem(machine);
  const file = `${stem}${machine.platform === "win32" ? ".zip" : ".tar.gz"}`;
  const base = (machine.env["NATS_SERVER_DOWNLOAD_BASE"] || RELEASE_BASE).replace(/\/+$/, "");
  const release = `${base}/v${PREFERRED_VERSION}`;

  const listing = await get(`${release}/SHA256SUMS`, PROBE_TIMEOUT_MS, signal);
  const listed = checksumOf(await listing.text(), file);
  if (listed === undefined) {
    throw new ServerError("download-failed", `${release}/SHA256SUMS does not list ${file}`);
  }
  report(`downloading ${release}/${file}`);
  const archive = join(dir, file);
  await download(`${release}/${file}`, archive, signal);
  const actual = await sha256Of(archive);
  if (actual !== listed || (pinned[file] ?? actual) !== actual) {
    throw new ServerError("download-failed", `${file} does not match its checksum`);
  }
  await runCommand("tar", ["-xf", file], { cwd: dir, timeoutMs: EXTRACT_TIMEOUT_MS, signal });
  const path = join(dir, stem, executableName(machine));
  return { path, version: await versionOf(path) };
}

/** The checksum that a `sha256sum` listing gives for `file`. */
function checksumOf(listing: string, file: string): string | undefined {
  for (const line of listing.split("\n")) {
    const [, sha256, name] = /^([0-9a-f]{64})\s+\*?(\S+)\s*$/.exec(line) ?? [];
    if (name === file) return sha256;
  }
  return undefined;
}

/** The release's name for this machine: its file without the ending, and the directory in it. */
function releaseStem({ platform, arch }: Machine): string {
  const [os, cpu] = [OS_NAMES[platform], ARCH_NAMES[arch]];
  if (os === undefined || cpu === undefined) {
    throw new ServerError("unavailable", `there is no release for ${platform} on ${arch}`);
  }
  return `nats-server-v${PREFERRED_VERSION}-${os}-${cpu}`;
}

async function download(url: string, to: string, signal: AbortSignal | undefined): Promise<void> {
  const response = await get(url, DOWNLOAD_TIMEOUT_MS, signal);
  if (response.body === null) throw new ServerError("download-failed", `${url} is empty`);
  await pipeline(Readable.fromWeb(response.body), createWriteStream(to));
}

async function get(
  url: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Response> {
  const timeout = AbortSignal.timeout(timeoutMs);
  const either = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
  const response = await fetch(url, { signal: either }).catch((cause: unknown) => {
    throw new ServerError("download-failed", `${new URL(url).host}: ${networkProblem(cause)}`, {
      cause,
    });
  });
  if (response.ok) return response;
  throw new ServerError("download-failed", `${url} answered ${response.status}`);
}

/** `fetch` says only "fetch failed"; the reason is one level down. */
function networkProblem(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return problemOf(cause ?? error);
}
