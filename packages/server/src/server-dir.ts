import { mkdir, readFile } from "node:fs/promises";
import { isIPv6 } from "node:net";
import { join } from "node:path";
import { accountsConf } from "./accounts-conf.ts";
import { type Certificates, ensureCertificates, readCertificates, textOf } from "./certificates.ts";
import { contextUrl, writeContexts } from "./contexts.ts";
import { ensureKeys, type PublicKeys, replaceFile } from "./keys.ts";

/** The project's nats-server.conf. The same from `src` and from `dist`. */
export const CONF_PATH = join(import.meta.dirname, "..", "..", "..", "nats-server.conf");

/** Where the configuration says the server listens when nothing overrides it. */
const DEFAULT_URL = "nats://127.0.0.1:4222";

export interface ServerDir {
  /** The configuration to start the server with. */
  readonly conf: string;
  /** The address that the contexts name. */
  readonly url: string;
  readonly publicKeys: PublicKeys;
  readonly tls?: Certificates;
  /** Where a nats-server.conf went that was not the project's: changed by hand, or of another release. */
  readonly replaced?: string;
}

export interface ServerDirOptions {
  readonly nodes: readonly string[];
  /**
   * The address that the contexts name. Default: the one that they have; without one, or with hosts for
   * a certificate, this machine or the first of the hosts.
   */
  readonly url?: string | undefined;
  /** Use TLS, with a certificate for these hosts; none means those that it has. */
  readonly tls?: { readonly hosts: readonly string[] } | undefined;
}

/**
 * Makes `dir` ready for a server: a copy of nats-server.conf, the keys and the files it includes,
 * and contexts for the `nats` command. A repeat keeps keys, certificates and local.conf, and renews
 * the copy, so an update of the project's configuration reaches the server at its next start. Who
 * has TLS keeps it, asked for or not.
 *
 *     <dir>/nats-server.conf                           configuration; no secrets, as in the next
 *     <dir>/accounts.conf  users.conf  nodes.conf      who may do what, who they are
 *     <dir>/tls.conf                                   TLS, or none
 *     <dir>/local.conf                                 what an operator changes; never overwritten
 *     <dir>/keys/<user>.nk                             seeds, mode 600
 *     <dir>/tls/                                       certificates and their keys
 *     <dir>/nats/context/<user>.json                   contexts of the `nats` command
 *     <dir>/jetstream/                                 the server's data
 */
export async function prepareServerDir(dir: string, options: ServerDirOptions): Promise<ServerDir> {
  await mkdir(dir, { recursive: true });
  const publicKeys = await ensureKeys(dir, { nodes: options.nodes });
  const wanted =
    options.tls ?? ((await readCertificates(dir)) === undefined ? undefined : { hosts: [] });
  const tls = wanted === undefined ? undefined : await ensureCertificates(dir, wanted);
  const named = wanted?.hosts.length ?? 0;
  const kept = named > 0 ? undefined : await contextUrl(dir, tls !== undefined);
  const url = options.url ?? kept ?? (tls === undefined ? DEFAULT_URL : urlOf(tls));
  const conf = join(dir, "nats-server.conf");
  const replaced = await replaceConf(conf, await readFile(CONF_PATH, "utf8"));
  await replaceFile(join(dir, "accounts.conf"), accountsConf());
  await replaceFile(join(dir, "tls.conf"), tlsConf(tls));
  await makeOnce(join(dir, "local.conf"), LOCAL_CONF);
  await writeContexts(dir, url, tls?.ca);
  return {
    ...{ conf, url, publicKeys },
    ...(tls === undefined ? {} : { tls }),
    ...(replaced === undefined ? {} : { replaced }),
  };
}

const LOCAL_CONF = `\
# What differs on this machine, read last, so that it wins: listen, max_file, cluster, …
# Made once and never overwritten; nats-server.conf itself is renewed by \`swarmctl keys init\`.
`;

function tlsConf(tls: Certificates | undefined): string {
  if (tls === undefined) {
    return "# No TLS: for this machine alone. `swarmctl keys init --tls --host <name>` sets it up.\n";
  }
  return `\
# Made by \`swarmctl keys init --tls\`; do not edit. After a change of a certificate: a reload.
#
# Every interface: nobody is let in without a key, and nothing is said in the clear.
listen: "0.0.0.0:4222"
tls {
  # Absolute: the server takes a relative path from the directory that it is started in.
  cert_file: ${JSON.stringify(tls.cert)}
  key_file: ${JSON.stringify(tls.key)}
  # A herd of nodes that reconnects waits for its turn. Users show their nkey, not a certificate.
  timeout: 5
}
`;
}

function urlOf({ hosts: [host = "localhost"] }: Certificates): string {
  return `tls://${isIPv6(host) ? `[${host}]` : host}:4222`;
}

/** Puts `text` in place. What was there and is something else is kept beside it: its path. */
async function replaceConf(path: string, text: string): Promise<string | undefined> {
  const before = await textOf(path);
  if (before === text) return undefined;
  const old = `${path}.old`;
  if (before !== undefined) await replaceFile(old, before);
  await replaceFile(path, text);
  return before === undefined ? undefined : old;
}

async function makeOnce(path: string, text: string): Promise<void> {
  if ((await textOf(path)) === undefined) await replaceFile(path, text);
}
