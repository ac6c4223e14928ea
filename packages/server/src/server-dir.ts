import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { accountsConf } from "./accounts-conf.ts";
import { writeContexts } from "./contexts.ts";
import { ensureKeys, type PublicKeys, replaceFile } from "./keys.ts";

/** The project's nats-server.conf. The same from `src` and from `dist`. */
export const CONF_PATH = join(import.meta.dirname, "..", "..", "..", "nats-server.conf");

/** Where the configuration says the server listens when nothing overrides it. */
export const DEFAULT_URL = "nats://127.0.0.1:4222";

export interface ServerDir {
  /** The configuration to start the server with. */
  readonly conf: string;
  readonly publicKeys: PublicKeys;
}

/**
 * Makes `dir` ready for a server: a copy of nats-server.conf, the keys and the files it includes,
 * and contexts for the `nats` command. A repeat keeps all keys and renews the copy, so an update
 * of the project's configuration reaches the server at its next start.
 *
 *     <dir>/nats-server.conf                           configuration; no secrets, as in the next
 *     <dir>/accounts.conf  users.conf  nodes.conf      who may do what, who they are
 *     <dir>/keys/<user>.nk                             seeds, mode 600
 *     <dir>/nats/context/<user>.json                   contexts of the `nats` command
 *     <dir>/jetstream/                                 the server's data
 */
export async function prepareServerDir(
  dir: string,
  { nodes, url = DEFAULT_URL }: { readonly nodes: readonly string[]; readonly url?: string },
): Promise<ServerDir> {
  await mkdir(dir, { recursive: true });
  const publicKeys = await ensureKeys(dir, { nodes });
  const conf = join(dir, "nats-server.conf");
  await replaceFile(conf, await readFile(CONF_PATH, "utf8"));
  await replaceFile(join(dir, "accounts.conf"), accountsConf());
  await writeContexts(dir, url);
  return { conf, publicKeys };
}
