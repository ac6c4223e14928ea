import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test as base, describe, expect } from "vitest";
import { prepareCluster, serverConf } from "../src/cluster.ts";
import { freePorts, isPortFree } from "../src/ports.ts";

const test = base.extend<{ readonly dir: string }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  dir: async ({}, use) => {
    const dir = await mkdtemp(join(tmpdir(), "mesh-cluster-"));
    await use(dir);
    await rm(dir, { recursive: true, force: true });
  },
});

const THREE = ["nats-1", "nats-2", "nats-3"].map((name) => ({ name, host: name }));

describe("the servers of a cluster", () => {
  test("have a configuration each and know the same password", async ({ dir }) => {
    const confs = await prepareCluster(dir, THREE);
    expect(confs).toEqual(THREE.map(({ name }) => join(dir, `${name}.conf`)));
    const routes = await readFile(join(dir, "routes.conf"), "utf8");
    const password = /password: "([\w-]{32})"/.exec(routes)?.[1];
    for (const { name } of THREE) {
      expect(await readFile(join(dir, `${name}.conf`), "utf8")).toBe(
        serverConf({ name, host: name }),
      );
      expect(routes).toContain(`"nats-route://route:${password}@${name}:6222"`);
    }
  });

  test("keep the password when one is added, in a file for its owner alone", async ({ dir }) => {
    await prepareCluster(dir, THREE.slice(0, 1));
    const secret = async () =>
      /password: "(.*?)"/.exec(await readFile(join(dir, "routes.conf"), "utf8"));
    const before = (await secret())?.[1];
    await prepareCluster(dir, [...THREE, { name: "nats-4", host: "fd00::4", routePort: 7000 }]);
    expect((await secret())?.[1]).toBe(before);
    expect(await readFile(join(dir, "routes.conf"), "utf8")).toContain("@[fd00::4]:7000");
    expect((await stat(join(dir, "routes.conf"))).mode & 0o777).toBe(0o600);
  });

  test("are told apart from other files, and from each other", async ({ dir }) => {
    const refused = (name: string, host = "h") => prepareCluster(dir, [{ name, host }]);
    for (const name of ["users", "tls", "local", "nats-server", "../x", "", "a b"]) {
      await expect(refused(name), name).rejects.toThrow("is no name for a server");
    }
    for (const host of ["", 'a"b', "a b", "a@b"]) {
      await expect(refused("a", host), host).rejects.toThrow("is no host name or address");
    }
    const twice = [THREE[0], THREE[0]].flatMap((one) => one ?? []);
    await expect(prepareCluster(dir, twice)).rejects.toThrow("the same name");
  });

  test("get ports that are free and differ", async () => {
    const ports = await freePorts(6);
    expect(new Set(ports).size).toBe(6);
    expect(await Promise.all(ports.map(isPortFree))).toEqual(ports.map(() => true));
  });
});
