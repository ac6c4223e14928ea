/**
 * The authenticator: says who may connect that the server's configuration does not name, lets nodes
 * in by token or by key, and cuts whoever was revoked.
 *
 * Any number of replicas answer the server in turn. None holds a fact: a key is looked up in the store
 * for every connection, so a revocation counts from the moment it is written, at every replica. The
 * connection that stands by then is cut at once by whoever wrote it, and, if it still stands, by whoever
 * sees it written; one that was just being made, when the server says so; what all missed, by a sweep.
 */
import { dirname, resolve } from "node:path";
import type { KeyPair } from "@nats-io/nkeys";
import {
  AuditQueue,
  AuditTrail,
  auditRefusals,
  listen,
  RefusedError,
  serve,
} from "@swarm-mesh/bus";
import {
  ConfigError,
  readSeed,
  type ServiceDefinition,
  type ServiceDeps,
} from "@swarm-mesh/process";
import {
  AddRequest,
  AUTH_CALLOUT_SUBJECT,
  type AuditDeed,
  accountOf,
  connectEventSubject,
  decode,
  IDENTITY_TOKEN_SUBJECT,
  type Identity,
  identityAddSubject,
  identityJoinSubject,
  identityRevokeSubject,
  isNodeId,
  type JoinAnswer,
  JoinRequest,
  lastTokenOf,
  meshNameOf,
  type RevokeAnswer,
  RevokeRequest,
  type TokenAnswer,
  TokenRequest,
  VERSION,
} from "@swarm-mesh/protocol";
import { aborted, isoTime, type Log, latch, ticks, together } from "@swarm-mesh/runtime";
import type { Msg } from "nats";
import type { z } from "zod";
import {
  enrolled,
  judgeClaim,
  judgeKey,
  judgeToken,
  judgeWithoutToken,
  type Refused,
  revoked,
} from "./admission.ts";
import { answerCallout, type Caller, readCallout, type Verdict } from "./callout.ts";
import { Config } from "./config.ts";
import { Connections, madeConnection } from "./connections.ts";
import { Identities, type IdentityChange, NotStoredError } from "./identities.ts";
import { signingPair } from "./native-keys.ts";

/** Replicas share what the server asks. */
const QUEUE = "authenticator";
/** A write that another replica was faster with is decided anew, so often. */
const TRIES_MAX = 5;
/** How long after a revocation every replica looks whether all of the key's connections are cut. */
const CUT_AGAIN_MS = 250;

export type AuthenticatorDeps = Omit<ServiceDeps, "log"> & { readonly log: Log };

/** The service as a process runs it. */
export const authenticator: ServiceDefinition<typeof Config> = {
  name: "authenticator",
  config: Config,
  run: (config, deps, signal) => runAuthenticator(config, deps, readIssuer(config), signal),
};

/** Runs until `signal` aborts. `issuer`: the account's seed. Rejects only on a bug. */
export function runAuthenticator(
  config: Config,
  deps: AuthenticatorDeps,
  issuer: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  return new Authenticator(config, deps, signingPair(issuer)).run(signal);
}

/** The seed to sign by. Throws {@link ConfigError} for a file that is unsafe, or of another kind. */
function readIssuer({ issuerSeed, natsNkey }: Config): Uint8Array {
  const file = resolve(dirname(natsNkey ?? "."), issuerSeed);
  const seed = readSeed(file);
  if (seed[1] === "A".charCodeAt(0)) return seed;
  throw new ConfigError(
    `key ${file} is not an account's (a line SA…): it is made by \`swarmctl keys init\`, as issuer.seed`,
  );
}

class Authenticator {
  readonly #config: Config;
  readonly #deps: AuthenticatorDeps;
  readonly #issuer: KeyPair;
  readonly #mesh: string;
  readonly #identities: Identities;
  readonly #connections: Connections;
  readonly #audit: AuditQueue;
  readonly #current = latch<void>();
  #judging = 0;

  constructor(config: Config, deps: AuthenticatorDeps, issuer: KeyPair) {
    this.#config = config;
    this.#deps = deps;
    this.#issuer = issuer;
    this.#mesh = meshNameOf(issuer.getPublicKey());
    this.#connections = new Connections(deps.nc, deps.log);
    const trail = new AuditTrail({ ...deps, by: deps.instance });
    this.#audit = new AuditQueue(trail, deps.log, auditRefusals(deps.meters));
    const told = {
      mesh: this.#mesh,
      onChange: (change: IdentityChange) => this.#tell(change),
      onRevoked: (publicKey: string) => void this.#cutAgain(publicKey),
    };
    this.#identities = new Identities({ ...deps, ...told }, () => this.#current.resolve());
    deps.meters.gauge(
      { name: "mesh_nodes_enrolled", help: "Nodes that are enrolled, and not revoked." },
      () => this.#identities.enrolled ?? [],
    );
  }

  async run(signal: AbortSignal): Promise<void> {
    await together(signal, [
      (inner) => this.#identities.run(inner),
      (inner) => this.#audit.run(inner),
      (inner) => this.#judgeConnections(inner),
      (inner) => this.#watchConnections(inner),
      (inner) => this.#sweep(inner),
      (inner) => this.#serve(inner),
    ]);
  }

  #serve(signal: AbortSignal): Promise<void> {
    const { instance, log, nc } = this.#deps;
    return serve(nc, {
      name: "authenticator",
      version: VERSION,
      description: "Says who may connect, and cuts who no longer may",
      metadata: { instance },
      endpoints: [
        { name: "join", subject: identityJoinSubject("*"), handle: (m) => this.#onJoin(m) },
        { name: "add", subject: identityAddSubject("*"), handle: (m) => this.#onAdd(m) },
        { name: "revoke", subject: identityRevokeSubject("*"), handle: (m) => this.#onRevoke(m) },
        { name: "token", subject: IDENTITY_TOKEN_SUBJECT, handle: (m) => this.#onToken(m) },
      ],
      onListening: () => void this.#current.promise.then(() => this.#deps.ready()),
      log,
      signal,
    });
  }

  // ── Connections ───────────────────────────────────────────────────────────────────────────────

  /** Answers the server, once it is known who there is. */
  async #judgeConnections(signal: AbortSignal): Promise<void> {
    const { nc } = this.#deps;
    await Promise.race([this.#current.promise, aborted(signal)]);
    if (signal.aborted) return;
    await listen(nc, AUTH_CALLOUT_SUBJECT, (message) => void this.#onCallout(message), {
      queue: QUEUE,
      signal,
    });
  }

  /** Says nothing where nothing is known: the client then tries again, and is not told a lie. */
  async #onCallout(message: Msg): Promise<void> {
    const { log } = this.#deps;
    if (this.#judging >= this.#config.judgingMax) return;
    this.#judging++;
    try {
      const caller = readCallout(message.data);
      if (!caller.ok) {
        log.warn({ problem: caller.problem }, "the server's question was not understood");
        return;
      }
      const verdict = await this.#judge(caller.value);
      message.respond(await answerCallout(caller.value, verdict, this.#issuer));
    } catch (error) {
      log.warn({ err: error }, "connection not judged");
    } finally {
      this.#judging--;
    }
  }

  async #judge({ publicKey, claims, lobby }: Caller): Promise<Verdict> {
    if (publicKey === undefined) {
      return { kind: "refused", reason: "no nkey, or not signed with it" };
    }
    if (lobby) return { kind: "lobby", publicKey };
    const holder = await this.#identities.holderOf(publicKey, claims);
    const judged = judgeKey(holder, publicKey);
    return judged.kind === "admitted"
      ? { kind: "node", node: judged.node, publicKey }
      : { kind: "refused", reason: judged.message };
  }

  /**
   * Looks a second time for what a key has, when the watch shows that it was revoked: who revoked it
   * may have died, or have missed a server that was slow to answer. With {@link #watchConnections} each
   * replica alone misses no connection, whether it hears of the revocation first or of the connection.
   */
  async #cutAgain(publicKey: string): Promise<void> {
    const { clock, log, nc } = this.#deps;
    // Who revoked it counts what it cuts, for a person: it comes first.
    await clock.sleep(CUT_AGAIN_MS);
    if (nc.isClosed()) return;
    try {
      await this.#connections.cutKey(publicKey, "all");
    } catch (error) {
      log.warn({ publicKey, err: error }, "connections not cut, the sweep will");
    }
  }

  /** Cuts a connection that was judged just before its key was revoked. */
  #watchConnections(signal: AbortSignal): Promise<void> {
    const subject = connectEventSubject(accountOf("node"));
    return listen(
      this.#deps.nc,
      subject,
      (message) => {
        const made = madeConnection(message);
        if (made !== undefined && this.#identities.isRevoked(made.publicKey)) {
          void this.#connections.cut(made);
        }
      },
      { signal },
    );
  }

  /** Finds what was missed: events are fast, this is correct. */
  async #sweep(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps;
    for await (const _ of ticks({ clock, everyMs: this.#config.sweepMs, signal })) {
      if (!this.#identities.someRevoked) continue;
      try {
        const cut = await this.#connections.sweep((key) => this.#identities.isRevoked(key));
        if (cut > 0) log.warn({ cut }, "connections of revoked keys found by the sweep");
      } catch (error) {
        log.warn({ err: error }, "sweep failed");
      }
    }
  }

  // ── Requests ──────────────────────────────────────────────────────────────────────────────────

  #onJoin(message: Msg): Promise<JoinAnswer> {
    const publicKey = lastTokenOf(message.subject);
    const request = parsed(JoinRequest, message);
    return this.#decide(async () => {
      const holder = await this.#identities.holderOf(publicKey, request.node);
      const joining = { publicKey, request, holder, mesh: this.#mesh };
      const early = judgeWithoutToken(joining);
      if (early !== undefined) return { node: unlessRefused(early).node };
      const token = request.token ?? "";
      const { state, revision } = await this.#identities.token(token);
      const { node, record } = unlessRefused(judgeToken(state, joining));
      await this.#enrol(
        { id: node, publicKey, how: "token" },
        { by: record.addedBy, at: this.#now() },
        // Taken when the id is known to be free, and before it is: a token is never good for two.
        () => this.#identities.take(token, record, publicKey, revision),
      );
      return { node };
    });
  }

  #onAdd(message: Msg): Promise<Identity> {
    const id = lastTokenOf(message.subject);
    if (!isNodeId(id)) throw new RefusedError("bad_request", "that is no node id");
    const { by, publicKey } = parsed(AddRequest, message);
    return this.#decide(() =>
      this.#enrol({ id, publicKey, how: "key" }, { by, at: this.#now() }, async () => undefined),
    );
  }

  #onRevoke(message: Msg): Promise<RevokeAnswer> {
    const node = lastTokenOf(message.subject);
    const { by, reason } = parsed(RevokeRequest, message);
    return this.#decide(async () => {
      const { identity, revision } = await this.#identities.read(node);
      if (identity === undefined) {
        throw new RefusedError(
          "not_found",
          `${node} was never enrolled; a node of the server's configuration is revoked there`,
        );
      }
      const after = revoked(identity, { by, at: this.#now() }, reason);
      if (after !== identity) await this.#identities.write("revoked", after, revision);
      return { identity: after, cut: await this.#connections.cutKey(after.publicKey, "quick") };
    });
  }

  async #onToken(message: Msg): Promise<TokenAnswer> {
    const { by, node, ttlMs } = parsed(TokenRequest, message);
    const record = { node: node ?? null, addedBy: by, addedAt: this.#now(), usedBy: null };
    return { token: await this.#identities.issue(record, ttlMs) };
  }

  async #enrol(
    node: { readonly id: string; readonly publicKey: string; readonly how: Identity["how"] },
    deed: { readonly by: string; readonly at: string },
    beforeWriting: () => Promise<void>,
  ): Promise<Identity> {
    const { id, publicKey } = node;
    const { identity: owner, revision } = await this.#identities.read(id);
    const judged = judgeClaim({
      node: id,
      publicKey,
      owner,
      holder: await this.#identities.holderOf(publicKey, id),
      seen: owner === undefined && (await this.#identities.isSeen(id)),
      count: this.#identities.count,
    });
    if (judged.kind === "refused") throw refusal(judged);
    if (judged.kind === "admitted" && owner !== undefined) return owner;
    await beforeWriting();
    const identity = enrolled(owner, node, deed);
    await this.#identities.write("enrolled", identity, revision);
    return identity;
  }

  /** Decides anew when another replica wrote first. */
  async #decide<T>(work: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof NotStoredError) || tries >= TRIES_MAX) throw error;
      }
    }
  }

  /** The one place that hears of every change made by this replica. */
  #tell(change: IdentityChange): void {
    const { log } = this.#deps;
    if (change.kind === "token-issued") {
      const { by, node, ttlMs } = change;
      log.info({ by, nodeId: node, ttlMs }, "join token issued");
      this.#audit.tell(deed("key.token_issued", { target: node, by }, { ttlMs }));
      return;
    }
    const { node: nodeId, publicKey, how, addedBy, revokedBy, reason } = change.identity;
    if (change.kind === "enrolled")
      log.info({ nodeId, publicKey, how, by: addedBy }, "node enrolled");
    else log.info({ nodeId, publicKey, by: revokedBy, reason }, "node revoked");
    const by = change.kind === "enrolled" ? addedBy : revokedBy;
    this.#audit.tell(
      deed(`key.${change.kind}`, { target: nodeId, by, reason }, { publicKey, how }),
    );
  }

  #now(): string {
    return isoTime(this.#deps.clock.now());
  }
}

/** An entry of the audit trail. Who did it is by their own word: the request says so. */
function deed(
  action: string,
  done: { target: string | undefined; by: string | null; reason?: string | null },
  details: AuditDeed["details"],
): AuditDeed {
  const { target = "", by, reason } = done;
  return { action, target, who: by === null ? {} : { name: by }, reason: reason ?? "", details };
}

function parsed<S extends z.ZodType>(schema: S, message: Msg): z.infer<S> {
  const request = decode(schema, message.data);
  if (request.ok) return request.value;
  throw new RefusedError("bad_request", request.problem);
}

function unlessRefused<T extends { readonly kind: string }>(judged: T): Exclude<T, Refused> {
  if (isRefused(judged)) throw refusal(judged);
  // What is left of a union that has one refused part.
  return judged as Exclude<T, Refused>;
}

function isRefused(judged: object): judged is Refused {
  return "kind" in judged && judged.kind === "refused";
}

function refusal({ code, message }: Refused): RefusedError {
  return new RefusedError(code, message);
}
