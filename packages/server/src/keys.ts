/**
 * The nkey of every user: `<dir>/keys/<name>.nk`, a seed in a file that only its owner can read.
 *
 * A seed is made once, where there is none, and never overwritten, printed or copied. A node whose
 * seed was made on its own machine is known here by `<name>.pub` instead, its public key alone.
 * `<dir>/keys/issuer.seed` is no user's: by it the authenticator signs who a connection is.
 */
import {
  chmod,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { createAccount, createUser, fromPublic, fromSeed, type KeyPair } from "@nats-io/nkeys";
import { isNodeId } from "@swarm-mesh/protocol";
import { isoTime, systemClock } from "@swarm-mesh/runtime";
import { problemOf, ServerError } from "./errors.ts";
import { hasCode, withLock } from "./lock.ts";
import { nodesConf, USERS, usersConf } from "./users.ts";

/** Public keys by the name of their user. */
export type PublicKeys = Readonly<Record<string, string>>;

/** Group and others: read, write and execute. */
const NOT_OWNER = 0o077;

/**
 * Makes the seeds that are missing, for every role and for `nodes`, and writes the files that
 * nats-server.conf includes. Returns the public keys of all users, nodes added earlier included.
 * A repeat changes nothing.
 */
export async function ensureKeys(
  dir: string,
  { nodes }: { readonly nodes: readonly string[] },
): Promise<PublicKeys> {
  for (const node of nodes) checkNodeId(node);
  return underLock(dir, async () => {
    for (const name of nodes) await makeSeed(dir, name);
    return writeIncludes(dir);
  });
}

/**
 * Adds a node's user, with a seed of its own or, when the node keeps its seed elsewhere, with that
 * seed's public key. The server lets it in once it has reloaded its configuration. A repeat
 * changes nothing; another public key for the same node is refused.
 */
export async function addNodeKey(
  dir: string,
  name: string,
  publicKey?: string,
): Promise<PublicKeys> {
  checkNodeId(name);
  return underLock(dir, async () => {
    if (publicKey === undefined) await makeSeed(dir, name);
    else await recordPublicKey(dir, name, publicKey);
    return writeIncludes(dir);
  });
}

/** Removes a node's user. The server cuts its connection once it has reloaded its configuration. */
export async function removeNodeKey(dir: string, name: string): Promise<PublicKeys> {
  checkNodeId(name);
  return underLock(dir, async () => {
    await rm(seedPath(dir, name), { force: true });
    await rm(publicKeyPath(dir, name), { force: true });
    return writeIncludes(dir);
  });
}

/** A node of the server's configuration. */
export interface NodeKey {
  readonly publicKey: string;
  /** When its key came here, ISO 8601. */
  readonly since: string;
}

/** The nodes of the server's configuration in `dir`, by their ids. */
export async function nodeKeys(dir: string): Promise<Readonly<Record<string, NodeKey>>> {
  if (!(await exists(join(dir, "keys")))) return {};
  const nodes: Record<string, NodeKey> = {};
  for (const [id, publicKey] of Object.entries(nodesOf(await publicKeys(dir)))) {
    const seed = seedPath(dir, id);
    const { mtimeMs } = await stat((await exists(seed)) ? seed : publicKeyPath(dir, id));
    nodes[id] = { publicKey, since: isoTime(mtimeMs) };
  }
  return nodes;
}

/** Where the seed is by which the authenticator signs: an account's, not a user's. */
export function issuerPath(dir: string): string {
  return join(dir, "keys", "issuer.seed");
}

/** Where the seed of `name` is. */
export function seedPath(dir: string, name: string): string {
  return join(dir, "keys", `${name}.nk`);
}

/**
 * The seed in a file, for an authenticator. Refuses a file that others than its owner can read:
 * whoever could read it may be that user.
 */
export async function readSeed(path: string): Promise<Uint8Array> {
  return (await readUser(path)).seed;
}

interface Key {
  readonly seed: Uint8Array;
  readonly publicKey: string;
}

function readUser(path: string): Promise<Key> {
  return readKey(path, { prefix: "U", whose: "a user's" });
}

async function readKey(
  path: string,
  kind: { readonly prefix: string; readonly whose: string },
): Promise<Key> {
  if (!(await exists(path))) throw new ServerError("bad-key", `${path}: there is no such file`);
  await requirePrivate(path);
  const seed = new TextEncoder().encode((await readFile(path, "utf8")).trim());
  try {
    const publicKey = fromSeed(seed).getPublicKey();
    if (publicKey.startsWith(kind.prefix)) return { seed, publicKey };
    throw new Error(`it is not ${kind.whose}`);
  } catch (error) {
    throw new ServerError("bad-key", `${path} holds no usable seed: ${problemOf(error)}`);
  }
}

/** Refuses a file that others than its owner can read: they may have its secret already. */
export async function requirePrivate(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const mode = (await stat(path)).mode & 0o777;
  if ((mode & NOT_OWNER) === 0) return;
  throw new ServerError(
    "bad-key",
    `${path} can be read by others (mode ${mode.toString(8)}). If nobody has, chmod 600 it; else make a new key.`,
  );
}

function publicKeyPath(dir: string, name: string): string {
  return join(dir, "keys", `${name}.pub`);
}

function checkNodeId(id: string): void {
  if (!isNodeId(id)) {
    throw new ServerError(
      "bad-key",
      `${JSON.stringify(id)} is no node id: 1 to 64 of A-Z a-z 0-9 _ -`,
    );
  }
  if (USERS.some((role) => role === id)) {
    throw new ServerError(
      "bad-key",
      `${id} is the name of a user of the mesh; a node cannot have it`,
    );
  }
}

async function underLock<T>(dir: string, work: () => Promise<T>): Promise<T> {
  const keys = join(dir, "keys");
  await mkdir(keys, { recursive: true, mode: 0o700 });
  await chmod(keys, 0o700);
  return withLock(join(keys, ".lock"), { clock: systemClock }, work);
}

async function makeSeed(dir: string, name: string): Promise<void> {
  if (await exists(publicKeyPath(dir, name))) return;
  await writeSeed(seedPath(dir, name), createUser);
}

/** Makes a user's seed at `path`, for its owner alone, unless there is a file already. */
export function makeSeedFile(path: string): Promise<void> {
  return writeSeed(path, createUser);
}

/**
 * Makes a user's seed in a file of its own, for its owner alone, unless there is one; directories
 * too. Returns its public key. Throws a ServerError for a file that is unsafe or holds no such seed.
 */
export async function ensureSeed(path: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeSeed(path, createUser);
  return (await readUser(path)).publicKey;
}

async function writeSeed(path: string, create: () => KeyPair): Promise<void> {
  if (await exists(path)) return;
  // Written beside and renamed, so that a crash leaves no half of a seed.
  const draft = `${path}.draft`;
  await rm(draft, { force: true });
  const file = await open(draft, "wx", 0o600);
  try {
    await file.writeFile(create().getSeed());
    await file.writeFile("\n");
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
}

async function recordPublicKey(dir: string, name: string, publicKey: string): Promise<void> {
  try {
    fromPublic(publicKey);
    if (!publicKey.startsWith("U")) throw new Error("it is not a user's");
  } catch (error) {
    throw new ServerError("bad-key", `${publicKey} is no user's public key: ${problemOf(error)}`);
  }
  const known = (await publicKeys(dir))[name];
  if (known === publicKey) return;
  if (known !== undefined) {
    throw new ServerError("bad-key", `${name} has another key already; remove it first`);
  }
  await writeFile(publicKeyPath(dir, name), `${publicKey}\n`, { mode: 0o644 });
}

/** Also makes the seeds of roles that are missing: a later version may have more of them. */
async function writeIncludes(dir: string): Promise<PublicKeys> {
  for (const role of USERS) await makeSeed(dir, role);
  await writeSeed(issuerPath(dir), createAccount);
  const issuer = await readKey(issuerPath(dir), { prefix: "A", whose: "an account's" });
  const keys = await publicKeys(dir);
  await replaceFile(join(dir, "users.conf"), usersConf(keys, issuer.publicKey));
  await replaceFile(join(dir, "nodes.conf"), nodesConf(nodesOf(keys)));
  return keys;
}

/** All users, by name; those of the roles and every node there is a file for. */
async function publicKeys(dir: string): Promise<PublicKeys> {
  const keys: Record<string, string> = {};
  for (const file of (await readdir(join(dir, "keys"))).sort()) {
    const path = join(dir, "keys", file);
    if (file.endsWith(".nk")) {
      keys[file.slice(0, -".nk".length)] = (await readUser(path)).publicKey;
    } else if (file.endsWith(".pub")) {
      keys[file.slice(0, -".pub".length)] ??= (await readFile(path, "utf8")).trim();
    }
  }
  return keys;
}

function nodesOf(keys: PublicKeys): PublicKeys {
  const nodes = Object.entries(keys).filter(([name]) => !USERS.some((role) => role === name));
  for (const [name] of nodes) checkNodeId(name);
  return Object.fromEntries(nodes);
}

/** A reader, such as a server that reloads, sees the old file or the new one, never half of it. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const draft = `${path}.draft-${process.pid}`;
  await writeFile(draft, text);
  await rename(draft, path);
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}
