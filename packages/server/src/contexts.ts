import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { looseValue } from "@swarm-mesh/protocol";
import { textOf } from "./certificates.ts";
import { replaceFile, seedPath } from "./keys.ts";

/** The users that people are. */
const CONTEXTS = {
  admin: "Swarm Mesh: repairs everything",
  viewer: "Swarm Mesh: looks at everything but task bodies",
  client: "Swarm Mesh: submits tasks",
} as const;

/**
 * Writes contexts for the `nats` command, so that `XDG_CONFIG_HOME=<dir> nats --context viewer …`
 * needs no other option. A repeat with another `url` points them there. `ca` is the file with the
 * authority that signed the server's certificate, where it has one.
 */
export async function writeContexts(dir: string, url: string, ca?: string): Promise<void> {
  const contexts = join(dir, "nats", "context");
  await mkdir(contexts, { recursive: true });
  for (const [name, description] of Object.entries(CONTEXTS)) {
    const context = {
      description,
      url,
      // Absolute: the command is run from anywhere.
      nkey: resolve(seedPath(dir, name)),
      inbox_prefix: `_INBOX_${name}`,
      ...(ca === undefined ? {} : { ca }),
    };
    await replaceFile(join(contexts, `${name}.json`), `${JSON.stringify(context, null, 2)}\n`);
  }
}

/**
 * The address that the contexts in `dir` name; `undefined` when there are none, or it is none for a
 * server that is `encrypted`, or is not.
 */
export async function contextUrl(dir: string, encrypted: boolean): Promise<string | undefined> {
  const text = await textOf(join(dir, "nats", "context", "admin.json"));
  const context = looseValue(new TextEncoder().encode(text ?? ""));
  if (typeof context !== "object" || context === null || !("url" in context)) return undefined;
  const { url } = context;
  return typeof url === "string" && url.startsWith("tls:") === encrypted ? url : undefined;
}
