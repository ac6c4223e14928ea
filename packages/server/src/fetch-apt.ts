/**
 * nats-server out of a Debian package, without installing it and without being root.
 *
 * The mirror is the machine's own: no host is ever guessed. Debian's signature is checked with the
 * keyring the machine has. All of apt's state is in a private directory, so neither the machine's
 * package lists nor its locks are touched, and `dpkg-deb -x` only unpacks: no script of the
 * package runs.
 */
import { access, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runCommand } from "./command.ts";
import { problemOf, ServerError } from "./errors.ts";
import { hasCode } from "./lock.ts";
import type { Machine } from "./machine.ts";
import { judgeVersion, versionOf } from "./version.ts";

/** `testing` carries a current version; `trixie` only in the future, if its version is raised. */
const SUITES = ["testing", "trixie"] as const;
/** The package lists of a suite are 10 MB, the package 5 MB. */
const APT_TIMEOUT_MS = 180_000;

export interface SourceList {
  readonly name: string;
  readonly text: string;
}

/**
 * The first enabled mirror in apt's source lists whose address ends in `/debian`. Files that apt
 * itself would not read, disabled entries and the security archive are passed over.
 */
export function debianMirror(lists: readonly SourceList[]): string | undefined {
  return lists
    .flatMap(({ name, text }) => {
      if (name.endsWith(".sources")) return deb822Uris(text);
      return name.endsWith(".list") ? oneLineUris(text) : [];
    })
    .find((uri) => /^https?:\/\/.+\/debian\/?$/.test(uri));
}

/** Unpacks nats-server into `dir` and returns its path and version. */
export async function fetchFromApt(
  machine: Machine,
  dir: string,
  { report, signal }: { report: (line: string) => void; signal?: AbortSignal | undefined },
): Promise<{ readonly path: string; readonly version: string }> {
  if (machine.platform !== "linux") throw new ServerError("unavailable", "this is not Linux");
  await access(machine.debianKeyring).catch((cause: unknown) => {
    throw new ServerError("unavailable", "Debian's keyring is not installed", { cause });
  });
  const mirror = debianMirror(await readSourceLists(machine.aptDir));
  if (mirror === undefined) {
    throw new ServerError("unavailable", "apt's source lists name no Debian mirror");
  }
  const problems: string[] = [];
  for (const suite of SUITES) {
    try {
      report(`fetching the nats-server package of Debian ${suite}`);
      return await fetchSuite(machine, { mirror, suite, dir: join(dir, suite), signal });
    } catch (error) {
      problems.push(`${suite}: ${problemOf(error)}`);
    }
  }
  throw new ServerError("download-failed", problems.join("; "));
}

interface Suite {
  readonly mirror: string;
  readonly suite: string;
  readonly dir: string;
  readonly signal: AbortSignal | undefined;
}

async function fetchSuite(
  machine: Machine,
  { mirror, suite, dir, signal }: Suite,
): Promise<{ readonly path: string; readonly version: string }> {
  // apt does not make these itself, and fails without them.
  await mkdir(join(dir, "lists", "partial"), { recursive: true });
  await mkdir(join(dir, "cache", "archives", "partial"), { recursive: true });
  await writeFile(
    join(dir, "mirror.list"),
    `deb [signed-by=${machine.debianKeyring}] ${mirror} ${suite} main\n`,
  );
  const run = (file: string, ...args: string[]): Promise<string> =>
    runCommand(file, args, { cwd: dir, timeoutMs: APT_TIMEOUT_MS, env: machine.env, signal });
  const apt = [
    ...["-o", `Dir::Etc::sourcelist=${join(dir, "mirror.list")}`],
    ...["-o", "Dir::Etc::sourceparts=/dev/null"],
    ...["-o", `Dir::State::lists=${join(dir, "lists")}`],
    ...["-o", `Dir::Cache=${join(dir, "cache")}`],
    ...["-o", "Dir::State::status=/dev/null"],
    // Root's apt would drop to a user who may not enter the private directory.
    ...["-o", "APT::Sandbox::User="],
    // The locks guard the machine's own state, which is not used.
    ...["-o", "Debug::NoLocking=1"],
    ...["-o", "Acquire::Languages=none"],
    ...["-o", "Acquire::Retries=1"],
    ...["-o", "Acquire::http::Timeout=20"],
    ...["-o", "Acquire::https::Timeout=20"],
    "-qq",
  ];
  await run("apt-get", ...apt, "update");
  await run("apt-get", ...apt, "download", "nats-server");
  const deb = (await readdir(dir)).find((name) => name.endsWith(".deb"));
  if (deb === undefined) throw new ServerError("download-failed", "apt-get left no package");
  await run("dpkg-deb", "-x", deb, "root");
  const path = join(dir, "root", "usr", "sbin", "nats-server");
  const version = await versionOf(path);
  const verdict = judgeVersion(version);
  if (verdict.kind === "refuse") throw new ServerError("unavailable", verdict.problem);
  return { path, version };
}

/** `sources.list` first, then the files of `sources.list.d` by name: the order apt reads them in. */
async function readSourceLists(aptDir: string): Promise<readonly SourceList[]> {
  const parts = await readdir(join(aptDir, "sources.list.d")).catch(emptyWhenMissing);
  const names = ["sources.list", ...parts.sort().map((name) => join("sources.list.d", name))];
  const lists: SourceList[] = [];
  for (const name of names) {
    try {
      lists.push({ name, text: await readFile(join(aptDir, name), "utf8") });
    } catch (error) {
      if (!hasCode(error, "ENOENT") && !hasCode(error, "EACCES")) throw error;
    }
  }
  return lists;
}

function emptyWhenMissing(error: unknown): string[] {
  if (hasCode(error, "ENOENT")) return [];
  throw error;
}

/** Stanzas of `Field: value` lines, parted by empty lines; a value goes on in indented lines. */
function deb822Uris(text: string): string[] {
  const withoutComments = text
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .join("\n");
  return withoutComments.split(/\n\s*\n/).flatMap((stanza) => {
    const field = (name: string): string =>
      new RegExp(`^${name}:(.*(?:\\n[ \\t].*)*)`, "im").exec(stanza)?.[1]?.trim() ?? "";
    if (/^(no|false|0|off|disable)$/i.test(field("Enabled"))) return [];
    if (!field("Types").split(/\s+/).includes("deb")) return [];
    return field("URIs").split(/\s+/);
  });
}

/** `deb [options] uri suite component…` */
function oneLineUris(text: string): string[] {
  return text
    .split("\n")
    .map((line) => /^\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)/.exec(line)?.[1])
    .filter((uri) => uri !== undefined);
}
