import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  addNodeKey,
  locateNatsServer,
  type RunningNatsServer,
  removeNodeKey,
  startNatsServer,
} from "@swarm-mesh/server";
import { test as base, expect } from "vitest";
import { startMesh } from "./mesh.ts";

/** A directory of the test's own, and a way to start servers that are gone when the test is over. */
const test = base.extend<{ dir: string; start: typeof startNatsServer }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest finds a fixture's needs in this pattern.
  dir: async ({}, use) => {
    const dir = await mkdtemp(join(tmpdir(), "start-"));
    await use(dir);
    await rm(dir, { recursive: true, force: true });
  },
  // Asks for `dir` so that servers are stopped before it is removed.
  start: async ({ dir: _ }, use) => {
    const servers: RunningNatsServer[] = [];
    await use(async (options) => {
      const server = await startNatsServer(options);
      servers.push(server);
      return server;
    });
    for (const server of servers) await server.stop();
  },
});

test("lets a node in that was added while the server runs, and cuts off one removed", async () => {
  const mesh = await startMesh(["n1"]);
  const n1 = await mesh.connectAs("n1");

  await addNodeKey(mesh.dir, "n2");
  await mesh.reload();
  const n2 = await mesh.connectAs("n2");
  await n1.flush();

  await removeNodeKey(mesh.dir, "n1");
  await mesh.reload();
  await n1.closed();
  await n2.flush();
  await n2.close();
});

test("keeps what was stored when the server is stopped and started again", async ({
  dir,
  start,
}) => {
  const { path: binary } = await locateNatsServer();
  const conf = join(dir, "plain.conf");
  await writeFile(conf, 'jetstream { store_dir: "." }\n');
  const first = await start({ binary, conf, dir });
  await first.stop();
  await first.stop();

  const second = await start({ binary, conf, dir });

  expect(second.pid).not.toBe(first.pid);
  expect(second.url).toMatch(/^nats:\/\/127\.0\.0\.1:\d+$/);
});

test("says why the server did not start", async ({ dir }) => {
  const { path: binary } = await locateNatsServer();
  const conf = join(dir, "bad.conf");
  await writeFile(conf, "accounts { A { users: [ { nkey: UNONE } ] } }\n");

  await expect(startNatsServer({ binary, conf, dir })).rejects.toThrow(
    /did not start: exit 1\n.*bad\.conf:1:26/,
  );
  await expect(startNatsServer({ binary: join(dir, "none"), conf, dir })).rejects.toThrow(
    /did not start: .*ENOENT/,
  );
});

test("ends a server by force that will not end", async ({ dir, start }) => {
  // Ready, and deaf to SIGTERM.
  const binary = join(dir, "stubborn");
  await writeFile(
    binary,
    `#!/usr/bin/env node
     process.on("SIGTERM", () => console.error("no"));
     const dir = process.argv[process.argv.indexOf("--ports_file_dir") + 1];
     const text = JSON.stringify({ nats: ["nats://127.0.0.1:1"] });
     require("node:fs").writeFileSync(dir + "/stubborn_1.ports", text);
     require("node:fs").writeFileSync(dir + "/stubborn_" + process.pid + ".ports", text);
     setInterval(() => undefined, 1000);
    `,
  );
  await chmod(binary, 0o755);
  const run = join(dir, "run");
  await mkdir(run);
  const lines: string[] = [];
  const clock = {
    now: () => Date.now(),
    elapsed: () => performance.now(),
    // Patience is short here: what is waited for is the same.
    sleep: (ms: number) => new Promise<void>((wake) => setTimeout(wake, ms / 40)),
  };

  const log = (line: string): void => void lines.push(line);
  const server = await start({ binary, conf: "any", dir: run, clock, log });
  await server.stop();

  expect(server.child.signalCode).toBe("SIGKILL");
  expect(lines).toEqual(["no"]);
  await expect(readFile(join(run, "stubborn_1.ports"))).rejects.toThrow(/ENOENT/);
});
