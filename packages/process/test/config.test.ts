import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { variableOf } from "../src/config.ts";
import { ConfigError, loadConfig, ProcessConfig, readSeed } from "../src/mod.ts";

const Config = ProcessConfig.extend({
  leaseTtlMs: z.coerce.number().int().min(1_000).default(6_000),
});

const dir = mkdtempSync(join(tmpdir(), "mesh-config-"));
afterAll(() => rmSync(dir, { recursive: true }));
let files = 0;

describe("loading", () => {
  test("takes the environment before the file, and the file before defaults", () => {
    const path = file("leaseTtlMs: 7000\nlogLevel: warn\nnatsUrl: nats://file:1\n");
    const env = { MESH_LEASE_TTL_MS: "8000", NATS_URL: "nats://env:1", PATH: "/bin" };
    expect(loadConfig(Config, { env, file: path })).toMatchObject({
      leaseTtlMs: 8_000,
      logLevel: "warn",
      natsUrl: "nats://env:1",
      httpPort: 0,
    });
  });

  test("takes the mesh's own variable before NATS'", () => {
    const env = { NATS_URL: "nats://a:1", MESH_NATS_URL: "nats://b:1" };
    expect(loadConfig(Config, { env }).natsUrl).toBe("nats://b:1");
  });

  test("reads JSON, an empty file and an empty variable", () => {
    const env = { MESH_LEASE_TTL_MS: "" };
    expect(loadConfig(Config, { env, file: file('{"leaseTtlMs": 9000}') }).leaseTtlMs).toBe(9_000);
    expect(loadConfig(Config, { env, file: file("") }).leaseTtlMs).toBe(6_000);
  });

  test.each<[string, string | undefined, Record<string, string>, RegExp]>([
    ["a key misspelt", "leaseTtl: 1\n", {}, /unknown key "leaseTtl", did you mean "leaseTtlMs"/],
    ["a variable misspelt", undefined, { MESH_LEASE_TTL_M: "1" }, /did you mean MESH_LEASE_TTL_MS/],
    ["a number too small", undefined, { MESH_LEASE_TTL_MS: "10" }, /^leaseTtlMs: /],
    ["no number", undefined, { MESH_REPLICAS: "many" }, /^replicas: /],
    ["an unknown level", "logLevel: loud\n", {}, /^logLevel: /],
    ["a list", "- 1\n", {}, /expected keys and values at the top/],
    ["a key twice", "logLevel: info\nlogLevel: warn\n", {}, /unique/],
    ["no YAML", "a: [", {}, /\.yaml: /],
  ])("refuses %s", (_, content, env, message) => {
    const source = { env, file: content === undefined ? undefined : file(content) };
    expect(() => loadConfig(Config, source)).toThrow(ConfigError);
    expect(() => loadConfig(Config, source)).toThrow(message);
  });

  test("refuses a file that is not there", () => {
    expect(() => loadConfig(Config, { env: {}, file: join(dir, "none") })).toThrow(/ENOENT/);
  });

  test("leaves other programs' variables alone", () => {
    expect(loadConfig(Config, { env: { MESH_SOMETHING_ELSE: "1" } }).httpPort).toBe(0);
  });

  test("names variables", () => {
    expect(variableOf("leaseTtlMs")).toBe("MESH_LEASE_TTL_MS");
  });
});

describe("a seed", () => {
  const seed = `SU${"A".repeat(56)}`;

  test("is read from a file of mode 600, comments allowed", () => {
    const path = file(`# the registry's\n${seed}\n`, 0o600);
    expect(new TextDecoder().decode(readSeed(path))).toBe(seed);
  });

  test.each([0o640, 0o604, 0o644])("is refused from a file of mode %o", (mode) => {
    const path = file(seed, mode);
    expect(() => readSeed(path)).toThrow(/may be read by others \(mode 6\d\d\): chmod 600/);
  });

  test("is refused when it is none, and never part of the error", () => {
    const broken = `${seed}A`;
    expect(() => readSeed(file(broken, 0o600))).toThrow(/holds no nkey seed/);
    expect(() => readSeed(join(dir, "none"))).toThrow(/^key .*ENOENT/);
    try {
      readSeed(file(broken, 0o600));
    } catch (error) {
      expect(String(error)).not.toContain("SUAA");
    }
  });
});

function file(content: string, mode = 0o600): string {
  const path = join(dir, `${files++}.yaml`);
  writeFileSync(path, content, { mode });
  return path;
}
