import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
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
