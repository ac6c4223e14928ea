/**
 * Which server a command talks to, and as whom.
 *
 * What is said on the command line or in the environment wins: `--context` for all of it, `--server`
 * and `--nkey` for a part. When nothing is said, a dev mesh that runs in this directory is meant,
 * else the context that the `nats` command has selected, else a server on this machine.
 */
import { existsSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { type Protection, protectionFrom, type TlsFiles } from "@swarm-mesh/bus";
import { decode } from "@swarm-mesh/protocol";
import { z } from "zod";
import { type DevFile, devFilePath, readDevFile } from "./dev/dev-file.ts";
import { CliError, Exit, usageError } from "./exit.ts";
import { choiceFlag, durationFlag } from "./flags.ts";
import type { Io } from "./io.ts";
import type { Format } from "./output.ts";

/** The global flags as they were typed. */
export interface GlobalFlags {
  readonly server?: string;
  readonly nkey?: string;
  readonly context?: string;
  readonly inbox?: string;
  readonly timeout?: string;
  readonly output?: string;
}

/**
 * Whose key of a dev mesh is used: the client's for what clients may, the admin's for the rest, or
 * that of a node.
 */
export type Audience = string;

/** Which server a command talks to, and as whom. */
export interface Target {
  readonly servers: readonly string[];
  /** The file with the seed; `undefined`: anonymous. */
  readonly nkey: string | undefined;
  readonly inboxPrefix: string;
  /** Where browsers connect, as far as it is known. */
  readonly websocket: string | undefined;
  /** How the way there is encrypted: as the environment says, else the context. */
  readonly protection: Protection;
  /** Where this comes from, for error messages. */
  readonly origin: string;
  readonly timeoutMs: number;
  /** The directory of the dev mesh, when that is meant. */
  readonly dir?: string | undefined;
}

/** The fields of a NATS context that matter here; others are left alone. */
const NatsContext = z.looseObject({
  url: z.string().default(""),
  nkey: z.string().default(""),
  ca: z.string().default(""),
  cert: z.string().default(""),
  key: z.string().default(""),
  inbox_prefix: z.string().default(""),
});
type NatsContext = z.infer<typeof NatsContext>;

/** Ways to log in that the mesh has no use for. */
const UNSUPPORTED = ["creds", "user", "token", "user_jwt", "nsc"] as const;

const DEFAULT_URL = "nats://127.0.0.1:4222";
const DEFAULT_TIMEOUT = "5s";

type Surroundings = Pick<Io, "env" | "cwd" | "home">;

/** A node whose own seed is meant, when no key is named: one that is on this machine, or is to be made. */
export interface OwnSeed {
  readonly node: string;
  readonly make: boolean;
}

/** Works out the target from flags, environment, contexts and the dev mesh, in that order. */
export function resolveTarget(
  flags: GlobalFlags,
  io: Surroundings,
  audience: Audience,
  ownSeed?: OwnSeed,
): Target {
  const said = {
    server: flags.server ?? variable(io, "NATS_URL"),
    nkey: flags.nkey ?? variable(io, "NATS_NKEY"),
    context: flags.context ?? variable(io, "NATS_CONTEXT"),
  };
  const timeoutMs = durationFlag(
    "--timeout",
    flags.timeout ?? variable(io, "NATS_TIMEOUT") ?? DEFAULT_TIMEOUT,
  );
  const silent = Object.values(said).every((value) => value === undefined);
  const own = ownSeed === undefined ? undefined : ownSeedPath(ownSeed, io, silent);
  const dev = silent ? devTarget(io, audience, own) : undefined;
  const context = dev === undefined ? contextTarget(said.context, silent, io) : undefined;
  const base = dev ?? context;
  const nkey = said.nkey === undefined ? (own ?? base?.nkey) : resolve(io.cwd, said.nkey);
  const servers = said.server ?? base?.url ?? "";
  const { allowPlaintext, ...files } = protectionFrom(io.env);
  return {
    servers: (servers === "" ? DEFAULT_URL : servers).split(",").map((server) => server.trim()),
    nkey,
    websocket: said.server === undefined ? dev?.websocket : undefined,
    inboxPrefix: inboxPrefixOf(flags.inbox ?? (said.nkey === undefined ? base?.inbox : ""), nkey),
    protection: {
      allowPlaintext,
      ca: files.ca ?? base?.files.ca,
      cert: files.cert ?? base?.files.cert,
      key: files.key ?? base?.files.key,
    },
    origin: base?.origin ?? (silent ? "the default" : "the command line or the environment"),
    timeoutMs,
    dir: dev?.dir,
  };
}

/** The directory of the dev mesh: `MESH_DIR`, else `.mesh` here. */
function devDir(io: Surroundings): string {
  return resolve(io.cwd, variable(io, "MESH_DIR") ?? ".mesh");
}

interface Base {
  readonly url: string;
  readonly nkey: string | undefined;
  readonly inbox: string;
  readonly websocket?: string | undefined;
  readonly files: TlsFiles;
  readonly origin: string;
  readonly dir?: string;
}

/**
 * Where the seed of a node is that was enrolled from this machine: in the directory of the dev mesh
 * when that is meant, else among the user's own settings.
 */
function ownSeedPath(
  { node, make }: OwnSeed,
  io: Surroundings,
  silent: boolean,
): string | undefined {
  const dir = devDir(io);
  const config = variable(io, "XDG_CONFIG_HOME") ?? join(io.home, ".config");
  const dev = silent && readDevFile(dir) !== undefined;
  const nodes = dev ? join(dir, "nodes") : join(config, "swarm-mesh", "nodes");
  const path = join(nodes, `${node}.nk`);
  return make || existsSync(path) ? path : undefined;
}

function devTarget(
  io: Surroundings,
  audience: Audience,
  own: string | undefined,
): Base | undefined {
  const dir = devDir(io);
  const file: DevFile | undefined = readDevFile(dir);
  if (file === undefined) return undefined;
  const origin = `the dev mesh of ${devFilePath(dir)}`;
  // A node's key may have been added since the mesh was started.
  const added = join(dir, "keys", `${audience}.nk`);
  const nkey = own ?? file.keys[audience] ?? (existsSync(added) ? added : undefined);
  if (nkey === undefined) {
    throw usageError(
      `${origin} has no key for ${audience}; make one with \`swarmctl keys add ${audience}\`, or name one with --nkey`,
    );
  }
  const { url, websocket } = file;
  return { url, websocket, nkey, inbox: audience, files: {}, origin, dir };
}

function contextTarget(
  named: string | undefined,
  silent: boolean,
  io: Surroundings,
): Base | undefined {
  const config = join(variable(io, "XDG_CONFIG_HOME") ?? join(io.home, ".config"), "nats");
  const name = named ?? (silent ? textOf(join(config, "context.txt"))?.trim() : undefined);
  if (name === undefined || name === "") return undefined;
  if (!/^[\w.-]+$/.test(name)) throw usageError(`${JSON.stringify(name)} is no name of a context`);
  const path = join(config, "context", `${name}.json`);
  const context = readContext(name, path);
  for (const field of UNSUPPORTED) {
    if (typeof context[field] === "string" && context[field] !== "") {
      throw usageError(
        `context ${name} logs in by ${field}, which the mesh does not use; it needs an nkey (${path})`,
      );
    }
  }
  const nkey = context.nkey === "" ? undefined : expandHome(context.nkey, io.home);
  const file = (path: string): string | undefined =>
    path === "" ? undefined : expandHome(path, io.home);
  const files = { ca: file(context.ca), cert: file(context.cert), key: file(context.key) };
  return { url: context.url, nkey, inbox: context.inbox_prefix, files, origin: `context ${name}` };
}

function readContext(name: string, path: string): NatsContext {
  const text = textOf(path);
  if (text === undefined) {
    throw new CliError(Exit.notFound, "not_found", `there is no NATS context ${name} (${path})`);
  }
  const context = decode(NatsContext, Buffer.from(text));
  if (context.ok) return context.value;
  throw usageError(`context ${name} cannot be read (${path}): ${context.problem}`);
}

/** Answers come where the user may listen: below the name its seed file has, unless told otherwise. */
function inboxPrefixOf(inbox: string | undefined, nkey: string | undefined): string {
  if (inbox !== undefined && inbox !== "") {
    return inbox.startsWith("_INBOX") ? inbox : `_INBOX_${inbox}`;
  }
  return nkey === undefined ? "_INBOX" : `_INBOX_${basename(nkey).replace(/\.[^.]*$/, "")}`;
}

/** An output format, checked. */
export function outputOf(flags: GlobalFlags): Format {
  return choiceFlag("--output", flags.output ?? "table", ["table", "json", "jsonl"]);
}

/** An empty variable counts as unset. */
function variable(io: Surroundings, name: string): string | undefined {
  const value = io.env[name];
  return value === "" ? undefined : value;
}

function expandHome(path: string, home: string): string {
  return path.startsWith("~/") ? join(home, path.slice(2)) : resolve(path);
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // Not there or not readable: to the caller it is the same.
    return undefined;
  }
}
