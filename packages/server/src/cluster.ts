/**
 * The servers of a cluster: one small file for each, and one that they share.
 *
 *     <dir>/<name>.conf   includes nats-server.conf; says the server's name and where it listens
 *     <dir>/routes.conf   who the servers are, and the password by which they know each other; mode 600
 *
 * Routes know no nkeys: a password is all that nats-server takes there, beside certificates.
 */
import { randomBytes } from "node:crypto";
import { chmod, readFile, rename, writeFile } from "node:fs/promises";
import { isIPv6 } from "node:net";
import { join } from "node:path";
import { type Certificates, readCertificates } from "./certificates.ts";
import { ServerError } from "./errors.ts";
import { hasCode } from "./lock.ts";

/** One server of a cluster. */
export interface ClusterMember {
  /** Its name in the cluster: never another's, and never changed, as its store goes by it. */
  readonly name: string;
  /** Where the other servers find it. */
  readonly host: string;
  /** Where it listens for clients, `host:port`; default all addresses, 4222. */
  readonly listen?: string;
  /** Where it listens for the other servers; default all addresses. */
  readonly routeListen?: string;
  /** Its port for the other servers; default 6222. */
  readonly routePort?: number;
}

/** What a server is called: it is part of file names and of what the server logs. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$/;
/** Other files of the directory. */
const RESERVED = new Set(["accounts", "local", "nats-server", "nodes", "routes", "tls", "users"]);
/** A host name or an address, without anything that would end the text it stands in. */
const HOST = /^[A-Za-z0-9_.:-]{1,253}$/;
const ROUTE_PORT_DEFAULT = 6222;
const PASSWORD_BYTES = 24;

/**
 * Writes the files of `members` into `dir`, beside nats-server.conf, and returns the path of each
 * one's configuration. A repeat keeps the password, so servers may be added one by one. Where there is
 * TLS, the servers use it among themselves as well. Throws
 * {@link ServerError} for names that cannot be.
 */
export async function prepareCluster(
  dir: string,
  members: readonly ClusterMember[],
): Promise<readonly string[]> {
  checkMembers(members);
  const routes = join(dir, "routes.conf");
  const password = (await passwordOf(routes)) ?? randomBytes(PASSWORD_BYTES).toString("base64url");
  const tls = await readCertificates(dir);
  await writeSecret(routes, routesConf(members, password, tls));
  const confs = members.map((member) => join(dir, `${member.name}.conf`));
  for (const [index, member] of members.entries()) {
    await writeFile(confs[index] ?? "", serverConf(member));
  }
  return confs;
}

/** The configuration of one server of a cluster: what is its own, and nothing else. */
export function serverConf(member: ClusterMember): string {
  const { name, listen = "0.0.0.0:4222", routePort = ROUTE_PORT_DEFAULT } = member;
  const routeListen = member.routeListen ?? `0.0.0.0:${routePort}`;
  return `# One server of a cluster. All are alike but for their names.
include "nats-server.conf"

# Its store goes by this name: it stays, whatever machine it moves to.
server_name: "${name}"
# For clients, nodes and services.
listen: "${listen}"
# It tries to reach a server that is away every second, and says so every minute.
reconnect_error_reports: 60

cluster {
  name: "mesh"
  # For the other servers alone: no client needs this port, and a firewall may say so.
  listen: "${routeListen}"
  # Who they are, and the password by which they know each other.
  include "routes.conf"
}
`;
}

function routesConf(
  members: readonly ClusterMember[],
  password: string,
  tls: Certificates | undefined,
): string {
  const routes = members.map(({ host, routePort = ROUTE_PORT_DEFAULT }) => {
    const shown = isIPv6(host) ? `[${host}]` : host;
    return `  "nats-route://${ROUTE_USER}:${password}@${shown}:${routePort}"\n`;
  });
  return `# Secret: who knows this password is a server of the mesh, and reads and writes everything.
authorization { user: "${ROUTE_USER}", password: "${password}", timeout: 5 }
# All of them, each server's own among them: it leaves that one out.
routes: [
${routes.join("")}]
${tls === undefined ? "" : routesTls(tls)}`;
}

/** Servers show each other the certificate that clients see, which must name each server's host. */
function routesTls({ ca, cert, key }: Certificates): string {
  return `tls {
  cert_file: ${JSON.stringify(cert)}
  key_file: ${JSON.stringify(key)}
  ca_file: ${JSON.stringify(ca)}
  verify: true
  timeout: 5
}
`;
}

const ROUTE_USER = "route";

async function passwordOf(routes: string): Promise<string | undefined> {
  try {
    return /password: "([\w-]+)"/.exec(await readFile(routes, "utf8"))?.[1];
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** Written beside and renamed: no reader sees half of it, and nobody but the owner any of it. */
async function writeSecret(path: string, text: string): Promise<void> {
  const draft = `${path}.draft-${process.pid}`;
  await writeFile(draft, text, { mode: 0o600 });
  await chmod(draft, 0o600);
  await rename(draft, path);
}

function checkMembers(members: readonly ClusterMember[]): void {
  for (const { name, host } of members) {
    if (!NAME.test(name) || RESERVED.has(name)) {
      throw new ServerError("bad-cluster", `${JSON.stringify(name)} is no name for a server`);
    }
    if (!HOST.test(host)) {
      throw new ServerError("bad-cluster", `${JSON.stringify(host)} is no host name or address`);
    }
  }
  if (new Set(members.map(({ name }) => name)).size < members.length) {
    throw new ServerError("bad-cluster", "two servers have the same name");
  }
}
