/** What services and commands say to a configuration or a key that nobody can run with. */
import { execFile } from "node:child_process";
import { chmod, copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Mesh } from "@swarm-mesh/testkit";
import { describe, expect } from "vitest";
import { test } from "./outside.ts";

const SWARMCTL = join(import.meta.dirname, "..", "..", "packages", "cli", "bin", "swarmctl.js");

test.afterEach(({ outside }) => outside.unharmed());

describe("a configuration nobody can run with", () => {
  test("names the variable that was meant, and ends with 2", async ({ outside }) => {
    const { mesh } = outside;
    const ended = await service(mesh, "coordinator", { MESH_LEADER_LEASE_TTL_MSS: "3000" });
    expect(ended.status).toBe(2);
    expect(ended.stderr).toContain(
      "MESH_LEADER_LEASE_TTL_MSS, did you mean MESH_LEADER_LEASE_TTL_MS?",
    );
    const bad = await service(mesh, "coordinator", { MESH_LEADER_LEASE_TTL_MS: "1500" });
    expect(bad).toMatchObject({ status: 2, stderr: expect.stringContaining("leaderLeaseTtlMs") });
  });

  test("names the key of a file that was meant, and ends with 2", async ({ outside }) => {
    const dir = await mkdtemp(join(tmpdir(), "mesh-config-"));
    const file = join(dir, "mesh.yaml");
    await writeFile(file, "leaseTtlMS: 6000\n");
    const ended = await service(outside.mesh, "registry", {}, ["--config", file]);
    expect(ended.status).toBe(2);
    expect(ended.stderr).toContain('unknown key "leaseTtlMS", did you mean "leaseTtlMs"?');
    const bomb = ["a: &a [x,x]", ...Array.from({ length: 20 }, (_, n) => `b${n}: [*a,*a]`)].join(
      "\n",
    );
    for (const text of ["{", "[1]", bomb, "logLevel: loud\n"]) {
      await writeFile(file, text);
      expect((await service(outside.mesh, "registry", {}, ["--config", file])).status).toBe(2);
    }
    await rm(dir, { recursive: true });
  });

  test("a seed that others may read is refused, and never shown", async ({ outside }) => {
    const dir = await mkdtemp(join(tmpdir(), "mesh-seed-"));
    const seed = join(dir, "n1.nk");
    await copyFile(outside.mesh.key("n1"), seed);
    await chmod(seed, 0o644);
    const runs = [
      await service(outside.mesh, "registry", { NATS_NKEY: seed }),
      await swarmctl(outside.mesh, ["node", "run", "--id", "n1", "--handle", "echo=cat"], {
        NATS_NKEY: seed,
      }),
      await swarmctl(outside.mesh, ["status"], { NATS_NKEY: seed }),
    ];
    // A configuration, a configuration, and a key that opens nothing.
    expect(runs.map(({ status }) => status)).toEqual([2, 2, 6]);
    for (const { stderr } of runs) {
      expect(stderr).toMatch(/chmod 600/);
      expect(stderr).not.toContain((await readFile(seed, "utf8")).trim());
    }
    await rm(dir, { recursive: true });
  });
});

type Ended = { readonly status: number; readonly stderr: string };

function service(
  mesh: Mesh,
  kind: string,
  env: NodeJS.ProcessEnv,
  args: string[] = [],
): Promise<Ended> {
  return swarmctl(mesh, ["service", kind, ...args], { NATS_NKEY: mesh.key(kind), ...env });
}

/** Runs swarmctl to its end, with these variables. */
function swarmctl(mesh: Mesh, args: string[], env: NodeJS.ProcessEnv): Promise<Ended> {
  return new Promise((resolve) => {
    const all = { ...process.env, NATS_URL: mesh.url, ...env };
    const child = execFile(
      process.execPath,
      [SWARMCTL, ...args],
      { env: all, timeout: 10_000 },
      (_, __, stderr) => {
        resolve({ status: child.exitCode ?? -1, stderr });
      },
    );
  });
}
