import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { permissionsOf } from "@swarm-mesh/protocol";
import {
  ensureSeed,
  locateNatsServer,
  prepareServerDir,
  readSeed,
  seedPath,
  startNatsServer,
} from "@swarm-mesh/server";
import { connect, type NatsConnection, nkeyAuthenticator } from "nats";
import { afterAll } from "vitest";

/** Every mesh of this file of tests, those that are still being started included. */
const started: Promise<TestMesh>[] = [];

afterAll(async () => {
  for (const mesh of await Promise.allSettled(started)) {
    if (mesh.status === "fulfilled") await mesh.value.stop();
  }
});

/** A real server with the project's configuration, and connections to it by user. */
export interface TestMesh {
  readonly url: string;
  readonly dir: string;
  readonly reload: () => Promise<void>;
  /** A connection as that user, made once; closed with the mesh. */
  as(name: string): Promise<NatsConnection>;
  /** A connection as that user which the caller closes. */
  connectAs(name: string, signedBy?: string): Promise<NatsConnection>;
  stop(): Promise<void>;
}

/**
 * Starts it, until the tests of the file are over: even when the hook or test that asked for it
 * timed out meanwhile. `edit` may change the files of its directory before the server reads them.
 */
export function startMesh(
  nodes: readonly string[],
  edit?: (dir: string) => Promise<void>,
): Promise<TestMesh> {
  const mesh = start(nodes, edit);
  started.push(mesh);
  return mesh;
}

async function start(
  nodes: readonly string[],
  edit: ((dir: string) => Promise<void>) | undefined,
): Promise<TestMesh> {
  const { path: binary } = await locateNatsServer();
  const dir = await mkdtemp(join(tmpdir(), "mesh-server-"));
  const { conf } = await prepareServerDir(dir, { nodes });
  await edit?.(dir);
  const server = await startNatsServer({ binary, conf, dir });
  const connections = new Map<string, Promise<NatsConnection>>();

  const connectAs = async (name: string, signedBy = name): Promise<NatsConnection> =>
    connect({
      servers: server.url,
      name,
      inboxPrefix: `_INBOX_${name}`,
      reconnect: false,
      authenticator: nkeyAuthenticator(await readSeed(seedPath(dir, signedBy))),
    });
  return {
    url: server.url,
    dir,
    reload: server.reload,
    connectAs,
    as: (name) => {
      const connection = connections.get(name) ?? connectAs(name);
      connections.set(name, connection);
      return connection;
    },
    stop: async () => {
      await Promise.allSettled([...connections.values()].map(async (nc) => (await nc).close()));
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Somebody in the lobby, as if an authenticator had let him in: his key is called `lobby`. */
export async function addStranger(dir: string): Promise<void> {
  const publicKey = await ensureSeed(seedPath(dir, "lobby"));
  const { publish, subscribe } = permissionsOf("lobby");
  const user = { nkey: publicKey, permissions: { publish, subscribe } };
  const path = join(dir, "accounts.conf");
  const text = await readFile(path, "utf8");
  const [before, after = ""] = text.split(/(?<=\n {2}LOBBY \{\n)/);
  // JSON is what nats-server reads, too.
  await writeFile(path, before + after.replace("users: []", `users: [ ${JSON.stringify(user)} ]`));
}

/** Runs `work` and returns what the server refused meanwhile: `publish <subject>`, `subscription <subject>`. */
export async function refusals(nc: NatsConnection, work: () => unknown): Promise<string[]> {
  const refused: string[] = [];
  const status = nc.status();
  void (async () => {
    for await (const { type, ...rest } of status) {
      if (type !== "error" || !("error" in rest)) continue;
      const { error } = rest;
      if ("operation" in error && "subject" in error)
        refused.push(`${error.operation} ${error.subject}`);
    }
  })();
  await work();
  // The refusal comes before the answer to the flush, and is handed out in a later turn.
  await nc.flush();
  await setImmediate();
  return refused;
}
