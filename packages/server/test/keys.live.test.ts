import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createUser } from "@nats-io/nkeys";
import {
  addNodeKey,
  ensureKeys,
  prepareServerDir,
  readSeed,
  removeNodeKey,
  type ServerDirOptions,
  seedPath,
  USERS,
  writeContexts,
} from "@swarm-mesh/server";
import { test as base, expect } from "vitest";

const test = base.extend<{ dir: string }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest finds a fixture's needs in this pattern.
  dir: async ({}, use) => {
    const dir = await mkdtemp(join(tmpdir(), "keys-"));
    await use(dir);
    await rm(dir, { recursive: true, force: true });
  },
});

test("makes a seed for every user, which only its owner can read", async ({ dir }) => {
  const keys = await ensureKeys(dir, { nodes: ["n1"] });

  expect(Object.keys(keys).sort()).toEqual([...USERS, "n1"].sort());
  expect((await stat(join(dir, "keys"))).mode & 0o777).toBe(0o700);
  for (const name of [...USERS, "n1"]) {
    expect((await stat(seedPath(dir, name))).mode & 0o777).toBe(0o600);
    expect(keys[name]).toMatch(/^U[A-Z2-7]{55}$/);
  }
});

test("never makes a seed anew, and keeps nodes that were added", async ({ dir }) => {
  await ensureKeys(dir, { nodes: ["n1"] });
  const before = await addNodeKey(dir, "n2");

  expect(await ensureKeys(dir, { nodes: ["n1"] })).toEqual(before);
});

test("is safe to run twice at once", async ({ dir }) => {
  const [one, other] = await Promise.all([
    ensureKeys(dir, { nodes: ["n1"] }),
    ensureKeys(dir, { nodes: ["n1"] }),
  ]);

  expect(one).toEqual(other);
  expect((await readdir(join(dir, "keys"))).filter((name) => !/\.nk$/.test(name))).toEqual([
    "issuer.seed",
  ]);
});

test.each([0o644, 0o640, 0o604, 0o660])("refuses a seed of mode %o", async (mode) => {
  const dir = await mkdtemp(join(tmpdir(), "keys-"));
  await ensureKeys(dir, { nodes: [] });
  await chmod(seedPath(dir, "admin"), mode);

  await expect(readSeed(seedPath(dir, "admin"))).rejects.toThrow(
    new RegExp(`can be read by others \\(mode ${mode.toString(8)}\\)`),
  );
  await expect(ensureKeys(dir, { nodes: [] })).rejects.toMatchObject({ code: "bad-key" });
  await rm(dir, { recursive: true, force: true });
});

test("refuses a seed that is none, without showing it", async ({ dir }) => {
  const path = join(dir, "broken.nk");
  await writeFile(path, "SUNOTASEED", { mode: 0o600 });

  await expect(readSeed(path)).rejects.toThrow(/holds no usable seed/);
  await expect(readSeed(path)).rejects.not.toThrow(/SUNOTASEED/);
});

test.each(["", "a.b", "*", "n 1", "../n1", "x".repeat(65), "admin", "client"])(
  "refuses %j as a node id",
  async (id) => {
    await expect(addNodeKey(tmpdir(), id)).rejects.toMatchObject({ code: "bad-key" });
  },
);

test("knows a node by its public key alone, when its seed is elsewhere", async ({ dir }) => {
  const publicKey = createUser().getPublicKey();
  await ensureKeys(dir, { nodes: [] });

  expect((await addNodeKey(dir, "n9", publicKey))["n9"]).toBe(publicKey);
  // A start that names the node does not make it another key.
  expect((await ensureKeys(dir, { nodes: ["n9"] }))["n9"]).toBe(publicKey);
  await expect(addNodeKey(dir, "n9", createUser().getPublicKey())).rejects.toThrow(/another key/);
  await expect(addNodeKey(dir, "n8", "UNONE")).rejects.toThrow(/no user's public key/);
  expect(await readFile(join(dir, "nodes.conf"), "utf8")).toContain(publicKey);

  expect(await removeNodeKey(dir, "n9")).not.toHaveProperty("n9");
  expect(await readFile(join(dir, "nodes.conf"), "utf8")).not.toContain(publicKey);
});

test("writes no seed anywhere but into its own file", async ({ dir }) => {
  await prepareServerDir(dir, { nodes: ["n1"] });
  const seed = (await readFile(seedPath(dir, "n1"), "utf8")).trim();

  for (const file of ["nats-server.conf", "users.conf", "nodes.conf", "nats/context/admin.json"]) {
    expect(await readFile(join(dir, file), "utf8")).not.toContain(seed);
  }
});

test("contexts keep their address, until another is given or it is no longer one", async ({
  dir,
}) => {
  const urlAfter = async (options: Partial<ServerDirOptions>): Promise<string> => {
    const { url } = await prepareServerDir(dir, { nodes: [], ...options });
    const context = await readFile(join(dir, "nats", "context", "client.json"), "utf8");
    expect(JSON.parse(context)).toMatchObject({ url });
    return url;
  };
  expect(await urlAfter({})).toBe("nats://127.0.0.1:4222");
  expect(await urlAfter({ url: "nats://127.0.0.1:5000" })).toBe("nats://127.0.0.1:5000");
  expect(await urlAfter({ nodes: ["n1"] })).toBe("nats://127.0.0.1:5000");
  expect(await urlAfter({ tls: { hosts: ["nats.example.org"] } })).toBe(
    "tls://nats.example.org:4222",
  );
  expect(await urlAfter({ url: "tls://10.0.0.4:4222" })).toBe("tls://10.0.0.4:4222");
  expect(await urlAfter({ tls: { hosts: [] } })).toBe("tls://10.0.0.4:4222");
});

test("writes contexts for the nats command, and points them elsewhere on request", async ({
  dir,
}) => {
  await prepareServerDir(dir, { nodes: [] });
  await writeContexts(dir, "nats://127.0.0.1:4333");

  for (const name of ["admin", "viewer", "client"]) {
    const text = await readFile(join(dir, "nats", "context", `${name}.json`), "utf8");
    expect(JSON.parse(text)).toMatchObject({
      url: "nats://127.0.0.1:4333",
      nkey: seedPath(dir, name),
      inbox_prefix: `_INBOX_${name}`,
    });
  }
});
