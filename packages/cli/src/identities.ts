/** `swarmctl keys add|revoke|list` and `swarmctl node token`: who may connect, while everything runs. */
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { type Answer, ask, Requester } from "@swarm-mesh/bus";
import {
  check,
  formatDuration,
  IDENTITIES_BUCKET,
  IDENTITY_TOKEN_SUBJECT,
  Identity,
  identityAddSubject,
  identityRevokeSubject,
  PublicKey,
  RevokeAnswer,
  TOKEN_TTL_MAX_MS,
  TokenAnswer,
  type WireError,
} from "@swarm-mesh/protocol";
import { ensureSeed, nodeKeys, removeNodeKey } from "@swarm-mesh/server";
import type { z } from "zod";
import type { Call } from "./call.ts";
import { readDevFile, SERVER_KIND } from "./dev/dev-file.ts";
import { readEntries } from "./entries.ts";
import { CliError, Exit, usageError } from "./exit.ts";
import { durationFlag, nodeIdArg } from "./flags.ts";
import { userName } from "./operate.ts";
import { document, line, print, table } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { outputOf, resolveTarget } from "./target.ts";

export interface EnrolFlags {
  readonly publicKey?: string;
  readonly out?: string;
}

/** Lets a node in by its public key; makes the key first unless it is given. */
export async function enrolNode(call: Call<EnrolFlags>, id: string): Promise<void> {
  const { flags, globals, io } = call;
  outputOf(globals);
  const seed = flags.publicKey === undefined ? seedFileOf(call, id) : null;
  const publicKey = seed === null ? publicKeyFlag(flags.publicKey ?? "") : await ensureSeed(seed);
  await withSession(call, "admin", async (session) => {
    const body = { publicKey, by: who() };
    const identity = await request(session, identityAddSubject(id), body, Identity);
    print(io, session.format, { id, publicKey: identity.publicKey, seed }, () =>
      [
        `${id} is let in as ${identity.publicKey}\n`,
        seed === null ? "" : `its seed is in ${seed}: bring it to ${id}'s machine, mode 600\n`,
      ].join(""),
    );
  });
}

export interface RevokeFlags {
  readonly dir?: string;
  readonly reason?: string;
}

/** Shuts a node's key out, and cuts its connection. */
export async function revokeNode(call: Call<RevokeFlags>): Promise<void> {
  const id = nodeIdArg(call.args[0] ?? "");
  const { dir, reason } = call.flags;
  if (dir !== undefined) return revokeStatic(call, id, resolve(call.io.cwd, dir));
  const dev = resolveTarget(call.globals, call.io, "admin").dir;
  const known = dev === undefined ? {} : await nodeKeys(dev);
  if (dev !== undefined && known[id] !== undefined) return revokeStatic(call, id, dev);
  await withSession(call, "admin", async (session) => {
    const body = { by: who(), reason };
    const { identity, cut } = await request(session, identityRevokeSubject(id), body, RevokeAnswer);
    print(call.io, session.format, { ...identity, cut }, () => {
      const connections = cut === 1 ? "1 connection was" : `${cut} connections were`;
      return `${id} is revoked since ${identity.revokedAt ?? ""}; ${connections} cut\n`;
    });
  });
}

/** Takes a node out of the server's configuration; a dev mesh's servers are told. */
async function revokeStatic(call: Call, id: string, dir: string): Promise<void> {
  const format = outputOf(call.globals);
  const publicKey = (await nodeKeys(dir))[id]?.publicKey;
  if (publicKey === undefined) {
    throw new CliError(Exit.notFound, "not_found", `${dir} has no key of a node ${id}`);
  }
  await removeNodeKey(dir, id);
  const processes = readDevFile(dir)?.processes ?? [];
  // Each of a cluster reads the file for itself, and would let the node in all the same.
  const servers = processes.filter(({ kind }) => kind === SERVER_KIND);
  const reloaded = servers.filter(({ pid }) => reload(pid)).length > 0;
  print(call.io, format, { id, publicKey, reloaded }, () =>
    reloaded
      ? `${id} is revoked; nats-server was told, and has cut it\n`
      : `${id} is taken out of ${dir}/nodes.conf; it is shut out once nats-server reads it:\n` +
        "systemctl reload swarm-mesh-nats, or kill -HUP <its pid>\n",
  );
}

/** Has a server read its configuration again. False: it is gone, and will read it when it starts. */
function reload(pid: number): boolean {
  try {
    return process.kill(pid, "SIGHUP");
  } catch {
    return false;
  }
}

export interface ListFlags {
  readonly dir?: string;
}

/** A node that may connect, or no longer may, as it is listed. */
interface Listed {
  readonly node: string;
  readonly publicKey: string;
  /** `static`: by the server's configuration. */
  readonly how: Identity["how"] | "static";
  readonly addedAt: string;
  readonly addedBy: string | null;
  readonly revokedAt: string | null;
  readonly revokedBy: string | null;
  readonly reason: string | null;
}

/** Lists the nodes that were enrolled; those of the server's configuration too, where it is at hand. */
export async function listKeys(call: Call<ListFlags>): Promise<void> {
  const { flags, io } = call;
  await withSession(call, "admin", async (session) => {
    const dir = flags.dir === undefined ? session.target.dir : resolve(io.cwd, flags.dir);
    const rows = [
      ...(dir === undefined ? [] : await staticKeys(dir)),
      ...(await enrolledKeys(session)),
    ].sort((a, b) => (a.node < b.node ? -1 : 1));
    if (session.format === "json") return io.out(document(rows));
    if (session.format === "jsonl") return io.out(rows.map(line).join(""));
    io.out(
      table(
        ["NODE", "HOW", "ADDED", "BY", "REVOKED", "PUBLIC KEY"],
        rows.map(({ node, how, addedAt, addedBy, revokedAt, revokedBy, publicKey }) => [
          node,
          how,
          addedAt.slice(0, 16),
          addedBy ?? "-",
          revokedAt === null ? "-" : `${revokedAt.slice(0, 16)} by ${revokedBy ?? "?"}`,
          publicKey,
        ]),
      ),
    );
  });
}

async function enrolledKeys(session: Session): Promise<readonly Listed[]> {
  const entries = await readEntries(session, IDENTITIES_BUCKET);
  return entries.flatMap(([, value]) => {
    const identity = check(Identity, value);
    return identity.ok ? [identity.value] : [];
  });
}

async function staticKeys(dir: string): Promise<readonly Listed[]> {
  if (!existsSync(dir)) throw usageError(`there is no directory ${dir}`);
  return Object.entries(await nodeKeys(dir)).map(([node, { publicKey, since }]) => ({
    ...{ node, publicKey, how: "static" as const, addedAt: since, addedBy: null },
    ...{ revokedAt: null, revokedBy: null, reason: null },
  }));
}

export interface TokenFlags {
  readonly ttl: string;
  readonly id?: string;
}

/** Has a join token made. It is printed here, and kept nowhere. */
export async function makeToken(call: Call<TokenFlags>): Promise<void> {
  const { flags, io } = call;
  const ttlMs = durationFlag("--ttl", flags.ttl);
  if (ttlMs < 1_000 || ttlMs > TOKEN_TTL_MAX_MS) {
    throw usageError(
      `--ttl ${flags.ttl}: at least 1s, at most ${formatDuration(TOKEN_TTL_MAX_MS)}`,
    );
  }
  const node = flags.id === undefined ? undefined : nodeIdArg(flags.id);
  await withSession(call, "admin", async (session) => {
    const body = { ttlMs, node, by: who() };
    const { token } = await request(session, IDENTITY_TOKEN_SUBJECT, body, TokenAnswer);
    // The token alone, so that a script can take it as it is.
    print(io, session.format, { token, ttlMs, node: node ?? null }, () => `${token}\n`);
  });
}

/** Where a new seed goes: what --out says, else where `node run` on this machine looks for it. */
function seedFileOf({ flags, globals, io }: Call<EnrolFlags>, id: string): string {
  if (flags.out !== undefined) return resolve(io.cwd, flags.out);
  const { nkey: _nkey, ...others } = globals;
  const target = resolveTarget(others, { ...io, env: withoutKey(io.env) }, id, {
    node: id,
    make: true,
  });
  return target.nkey ?? resolve(io.cwd, `${id}.nk`);
}

/** The admin's own key is not the node's. */
function withoutKey({ NATS_NKEY: _nkey, ...env }: Call["io"]["env"]): Call["io"]["env"] {
  return env;
}

function publicKeyFlag(text: string): string {
  const key = check(PublicKey, text);
  if (key.ok) return key.value;
  throw usageError(`--public-key: ${key.problem.replace(/^value: /, "")}`);
}

/** Asks the authenticators. Throws what they refuse, and what it means that nobody answers. */
async function request<S extends z.ZodType>(
  session: Session,
  subject: string,
  body: unknown,
  schema: S,
): Promise<z.infer<S>> {
  const { inboxPrefix, timeoutMs } = session.target;
  const requester = new Requester(session.nc, { inboxPrefix });
  const answer: Answer<z.infer<S>> = await ask(requester, subject, body, schema, { timeoutMs });
  switch (answer.kind) {
    case "ok":
      return answer.value;
    case "refused":
      throw new RefusedByMesh(answer.error);
    case "malformed":
      throw new CliError(Exit.error, "malformed", `${subject}: ${answer.problem}`);
    case "no-responders":
    case "timeout":
      throw new CliError(
        Exit.timeout,
        "unavailable",
        "no authenticator answers: is one running? Nothing was changed, or it is not known",
      );
  }
}

/** The mesh said no, and why. */
class RefusedByMesh extends Error {
  override readonly name = "RefusedByMesh";
  readonly code: string;

  constructor({ code, message }: WireError) {
    super(message);
    this.code = code;
  }
}

/** Who does this, as it is kept for people. */
function who(): string {
  return `${userName()}@${hostname()}`.slice(0, 128);
}
