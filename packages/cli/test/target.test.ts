import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test as base, describe, expect } from "vitest";
import { type GlobalFlags, outputOf, resolveTarget } from "../src/target.ts";

interface Place {
  readonly home: string;
  readonly cwd: string;
  context(name: string, fields: unknown, selected?: boolean): Promise<void>;
  dev(): Promise<void>;
  resolve(flags?: GlobalFlags, env?: Record<string, string>, audience?: string): object;
}

/** A home and a working directory of this test's own. */
const test = base.extend<{ readonly place: Place }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  place: async ({}, use) => {
    const home = await mkdtemp(join(tmpdir(), "mesh-home-"));
    const cwd = join(home, "work");
    const contexts = join(home, ".config", "nats", "context");
    await mkdir(contexts, { recursive: true });
    await mkdir(join(cwd, ".mesh"), { recursive: true });
    await use({
      home,
      cwd,
      context: async (name, fields, selected = false) => {
        await writeFile(join(contexts, `${name}.json`), JSON.stringify(fields));
        if (selected) await writeFile(join(contexts, "..", "context.txt"), `${name}\n`);
      },
      dev: async () => {
        const keys = { client: "/k/client.nk", admin: "/k/admin.nk" };
        const file = { url: "nats://127.0.0.1:7", keys, processes: [] };
        await writeFile(join(cwd, ".mesh", "dev.json"), JSON.stringify(file));
      },
      resolve: (flags = {}, env = {}, audience = "client") =>
        resolveTarget(flags, { env, cwd, home }, audience),
    });
    await rm(home, { recursive: true, force: true });
  },
});

describe("the target", () => {
  test("is this machine, anonymously, when nothing is said", ({ place }) => {
    expect(place.resolve()).toMatchObject({
      servers: ["nats://127.0.0.1:4222"],
      nkey: undefined,
      inboxPrefix: "_INBOX",
      timeoutMs: 5_000,
    });
  });

  test("is what flags say before what the environment says", ({ place }) => {
    const env = { NATS_URL: "nats://env:1", NATS_NKEY: "/env/viewer.nk", NATS_TIMEOUT: "9s" };
    expect(place.resolve({}, env)).toMatchObject({
      servers: ["nats://env:1"],
      nkey: "/env/viewer.nk",
      inboxPrefix: "_INBOX_viewer",
      timeoutMs: 9_000,
    });
    const flags = { server: "nats://a:1, nats://b:2", nkey: "n1.nk", timeout: "100ms" };
    expect(place.resolve(flags, env)).toMatchObject({
      servers: ["nats://a:1", "nats://b:2"],
      nkey: join(place.cwd, "n1.nk"),
      inboxPrefix: "_INBOX_n1",
      timeoutMs: 100,
    });
  });

  test("hears answers where it is told to", ({ place }) => {
    expect(place.resolve({ nkey: "me.nk", inbox: "admin" })).toMatchObject({
      inboxPrefix: "_INBOX_admin",
    });
    expect(place.resolve({ inbox: "_INBOX_x.y" })).toMatchObject({ inboxPrefix: "_INBOX_x.y" });
  });

  test("is the dev mesh of this directory, with the key for the command", async ({ place }) => {
    await place.context("prod", { url: "nats://prod:1" }, true);
    await place.dev();
    expect(place.resolve()).toMatchObject({
      servers: ["nats://127.0.0.1:7"],
      nkey: "/k/client.nk",
      inboxPrefix: "_INBOX_client",
    });
    expect(place.resolve({}, {}, "admin")).toMatchObject({ nkey: "/k/admin.nk" });
    expect(() => place.resolve({}, {}, "n7")).toThrow("has no key for n7");
    const added = join(place.cwd, ".mesh", "keys", "n7.nk");
    await mkdir(dirname(added));
    await writeFile(added, "");
    expect(place.resolve({}, {}, "n7")).toMatchObject({ nkey: added, inboxPrefix: "_INBOX_n7" });
    // As soon as anything is said, it is not meant.
    expect(place.resolve({ server: "nats://x:1" })).toMatchObject({ nkey: undefined });
    expect(place.resolve({}, { MESH_DIR: "elsewhere" })).toMatchObject({
      servers: ["nats://prod:1"],
    });
  });

  test("is a NATS context: the named one, or the selected one", async ({ place }) => {
    await place.context("a", { url: "nats://a:1", nkey: "~/admin.nk", inbox_prefix: "_INBOX_q" });
    await place.context("b", { url: "nats://b:1", description: "other" }, true);
    expect(place.resolve()).toMatchObject({ servers: ["nats://b:1"], nkey: undefined });
    expect(place.resolve({ context: "a" })).toMatchObject({
      servers: ["nats://a:1"],
      nkey: join(place.home, "admin.nk"),
      inboxPrefix: "_INBOX_q",
    });
    const env = { NATS_CONTEXT: "a", NATS_URL: "nats://c:1" };
    expect(place.resolve({}, env)).toMatchObject({ servers: ["nats://c:1"] });
    expect(place.resolve({ nkey: "/k/n1.nk", context: "a" })).toMatchObject({
      nkey: "/k/n1.nk",
      inboxPrefix: "_INBOX_n1",
    });
    const elsewhere = { XDG_CONFIG_HOME: join(place.home, ".config") };
    expect(place.resolve({ context: "a" }, elsewhere)).toMatchObject({ servers: ["nats://a:1"] });
  });

  test("is refused clearly when a context is no use", async ({ place }) => {
    await place.context("creds", { url: "nats://a:1", creds: "/x.creds" });
    await place.context("bad", []);
    expect(() => place.resolve({ context: "creds" })).toThrow("logs in by creds");
    expect(() => place.resolve({ context: "bad" })).toThrow("context bad cannot be read");
    expect(() => place.resolve({ context: "nope" })).toThrow("there is no NATS context nope");
    expect(() => place.resolve({ context: "../x" })).toThrow("is no name of a context");
    expect(() => place.resolve({ timeout: "soon" })).toThrow("--timeout");
  });
});

base("the output is a table unless JSON is asked for", () => {
  expect(outputOf({})).toBe("table");
  expect(outputOf({ output: "json" })).toBe("json");
  expect(() => outputOf({ output: "yaml" })).toThrow("--output");
});
