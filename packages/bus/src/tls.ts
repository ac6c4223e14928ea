/**
 * Encryption on the way to the server: where it is required, with which files, and what its failures mean.
 *
 * Plain text is for this machine: to any other host TLS is required, unless somebody says that the
 * network is their own. A server that does not offer it is refused, so that nobody on the way can
 * talk a client out of it.
 */
import { readFile } from "node:fs/promises";
import { connect, isIPv4 } from "node:net";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import { looseValue } from "@swarm-mesh/protocol";
import { latch, systemClock } from "@swarm-mesh/runtime";
import { ConnectionError, type TlsOptions as NatsTlsOptions } from "nats";

/** Files, in PEM. Each is read again at every connection, so what is renewed counts from the next one on. */
export interface TlsFiles {
  /** Whose signature under a server's certificate counts. Default: the authorities Node.js knows. */
  readonly ca?: string | undefined;
  /** A certificate of our own and its key, for a server that asks for one; ours do not. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** How a connection is protected. */
export interface Protection extends TlsFiles {
  /** Connect to other hosts without TLS when the server has none. Default false. */
  readonly allowPlaintext?: boolean | undefined;
}

export type TlsErrorCode =
  /** A file cannot be read, or holds no certificate or key. */
  | "bad_file"
  /** The server offers no TLS, and is not on this machine. */
  | "plaintext"
  /** The certificate is for other names, at its end, or signed by nobody we trust. */
  | "bad_certificate"
  /** The handshake failed in another way. */
  | "handshake";

/** Why there is no encrypted connection, and what to do. */
export class TlsError extends Error {
  override readonly name = "TlsError";
  readonly code: TlsErrorCode;

  constructor(code: TlsErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * What the environment says, in the words of the `nats` command: `NATS_CA`, `NATS_CERT`, `NATS_KEY`;
 * and `MESH_ALLOW_PLAINTEXT=1`. An empty variable counts as unset.
 */
export function protectionFrom(env: Environment): Protection {
  const said = (name: string): string | undefined => env[name] || undefined;
  return {
    ca: said("NATS_CA"),
    cert: said("NATS_CERT"),
    key: said("NATS_KEY"),
    allowPlaintext: ["1", "true"].includes(said("MESH_ALLOW_PLAINTEXT") ?? ""),
  };
}

/**
 * What the client library is told. Reads the files once, so that one that is missing is said at once
 * and not at every try. Throws a {@link TlsError}.
 */
export async function tlsFor(
  servers: readonly string[],
  { ca, cert, key, allowPlaintext = false }: Protection,
): Promise<NatsTlsOptions | undefined> {
  await Promise.all([
    requirePem("NATS_CA", ca, "CERTIFICATE"),
    requirePem("NATS_CERT", cert, "CERTIFICATE"),
    requirePem("NATS_KEY", key, "PRIVATE KEY"),
  ]);
  const asked = ca !== undefined || cert !== undefined || servers.some(isTlsUrl);
  const elsewhere = servers.some((server) => !isThisMachine(server));
  // Without it the library still encrypts where the server offers to.
  if (!asked && (allowPlaintext || !elsewhere)) return undefined;
  const files = {
    ...(ca === undefined ? {} : { caFile: ca }),
    ...(cert === undefined ? {} : { certFile: cert }),
    ...(key === undefined ? {} : { keyFile: key }),
  };
  const hosts = servers.map(hostOf);
  // The library hands what it does not know on to Node.js.
  const checks = {
    checkServerIdentity: (name: string, certificate: PeerCertificate) =>
      identityProblem(hosts, name, certificate),
  };
  return { ...files, ...checks };
}

/**
 * Why a certificate is not the server's. When it connects to an address instead of a name, the library
 * does not say which, and Node.js then takes "localhost" for the name, which every server may have. The
 * address may be one that a server told, so the certificate must be for one that we were told ourselves.
 */
function identityProblem(
  hosts: readonly string[],
  name: string,
  certificate: PeerCertificate,
): Error | undefined {
  if (name !== "localhost" || hosts.includes(name)) return checkServerIdentity(name, certificate);
  const problems = hosts.map((host) => checkServerIdentity(host, certificate));
  return problems.includes(undefined) ? undefined : problems[0];
}

/** Errors of Node.js about a certificate that nobody we trust has signed. */
const UNTRUSTED = new Set([
  "CERT_SIGNATURE_FAILURE",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

/**
 * What a failed connection means, when it is about encryption: why, and what to do. Every other
 * error is returned as it is.
 */
export async function explainTls(
  error: unknown,
  servers: readonly string[],
  wanted: boolean,
): Promise<unknown> {
  const where = servers.join(", ");
  const refuse = (code: TlsErrorCode, message: string): TlsError =>
    new TlsError(code, message, { cause: error });
  const plain = wanted ? await plainAmong(error, servers) : undefined;
  if (plain !== undefined) {
    return refuse(
      "plaintext",
      `${plain} does not offer TLS, so all that is said could be read and changed on the way. Set TLS up ` +
        "(`swarmctl keys init --tls --host <name>`), or, if the network is your own, set MESH_ALLOW_PLAINTEXT=1",
    );
  }
  const code = codeOf(error);
  const reason = error instanceof Error ? error.message : String(error);
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return refuse(
      "bad_certificate",
      `the certificate of ${where} is for other names: ${reason}. Connect by one of them, or add this one: ` +
        "`swarmctl keys init --tls --host <name>`, and a reload of nats-server",
    );
  }
  if (code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID") {
    return refuse(
      "bad_certificate",
      `the certificate of ${where} ${code === "CERT_HAS_EXPIRED" ? "has expired" : "is not valid yet"}: look at the ` +
        "clocks, or renew it with `swarmctl keys init --tls` and a reload of nats-server",
    );
  }
  if (UNTRUSTED.has(code)) {
    return refuse(
      "bad_certificate",
      `the certificate of ${where} is signed by nobody who is trusted here (${reason}): name the file of the mesh's ` +
        "authority, tls/ca.crt where the server is, in NATS_CA",
    );
  }
  if (!code.startsWith("ERR_SSL_") && !code.startsWith("ERR_TLS_")) return error;
  return refuse("handshake", `no encrypted connection to ${where}: ${reason}`);
}

/** A server that has no TLS, if that may be the reason for `error`: the library has no code for it. */
async function plainAmong(error: unknown, servers: readonly string[]): Promise<string | undefined> {
  if (!(error instanceof ConnectionError) || error.cause !== undefined) return undefined;
  const offers = await Promise.all(servers.map(offersTls));
  return servers.find((_, index) => offers[index] === false);
}

/** How long a server may take to say who it is, in milliseconds. */
const GREETING_TIMEOUT_MS = 2_000;
const PORT_DEFAULT = 4222;

/** Does a server say, in the first line that it sends, that it has TLS? `undefined`: it says nothing. */
function offersTls(server: string): Promise<boolean | undefined> {
  const { promise, resolve } = latch<boolean | undefined>();
  const port = Number(/:(\d+)$/.exec(server)?.[1] ?? PORT_DEFAULT);
  const socket = connect(port, hostOf(server));
  const over = new AbortController();
  void systemClock.sleep(GREETING_TIMEOUT_MS, over.signal).then(() => socket.destroy());
  socket.once("error", () => undefined); // What follows is "close".
  socket.once("close", () => {
    resolve(undefined);
    over.abort();
  });
  let greeting = "";
  socket.on("data", (chunk) => {
    greeting += chunk.toString();
    const info = /^INFO (.*)\r\n/.exec(greeting)?.[1];
    if (info === undefined) return;
    const said = looseValue(Buffer.from(info));
    const has = (flag: string): boolean =>
      typeof said === "object" && said !== null && Reflect.get(said, flag) === true;
    resolve(has("tls_required") || has("tls_available"));
    socket.destroy();
  });
  return promise;
}

function codeOf(error: unknown): string {
  if (typeof error !== "object" || error === null || !("code" in error)) return "";
  return typeof error.code === "string" ? error.code : "";
}

/** Does this address stay on this machine? */
export function isThisMachine(server: string): boolean {
  const host = hostOf(server);
  return host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));
}

function isTlsUrl(server: string): boolean {
  return server.startsWith("tls://");
}

function hostOf(server: string): string {
  const url = server.includes("://") ? server.slice(server.indexOf("://") + 3) : server;
  const address = url.slice(url.lastIndexOf("@") + 1);
  return /^\[([^\]]*)\]/.exec(address)?.[1] ?? address.replace(/:\d*$/, "").toLowerCase();
}

async function requirePem(variable: string, path: string | undefined, kind: string): Promise<void> {
  if (path === undefined) return;
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new TlsError("bad_file", `${variable} cannot be read: ${reason}`, { cause: error });
  }
  if (text.includes(`${kind}-----`)) return;
  throw new TlsError("bad_file", `${variable} ${path} holds no ${kind.toLowerCase()} in PEM`);
}
