/** What operators hold back stays so: over a leader's death, a node's restart, a node's loss. */
import { join } from "node:path";
import { Mesh } from "@swarm-mesh/testkit";
import { test as base, describe, expect } from "vitest";
import { run } from "../../packages/cli/src/main.ts";
import { FakeIo } from "../../packages/cli/test/fake-io.ts";

const COUNT = join(import.meta.dirname, "..", "..", "packages", "cli", "handlers", "count.js");
const PATIENCE_MS = 20_000;

const test = base.extend<{ mesh: Mesh }>({
  mesh: [
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
    async ({}, use) => {
      const handles = ["echo=cat", `count=module:${COUNT}`];
      const mesh = await Mesh.start({ nodes: 2, slots: 2, handles, replicas: 2 });
      await use(mesh);
      await mesh.stop();
    },
    { scope: "file" },
  ],
});

/** Runs a command line as the dev mesh's own user, in this process. */
async function swarmctl(mesh: Mesh, ...args: readonly string[]) {
  const io = new FakeIo({ env: { MESH_DIR: mesh.dir } });
  const status = await run(args, io);
  return { status, stdout: io.stdout, stderr: io.stderr };
}

async function done(mesh: Mesh, ...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await swarmctl(mesh, ...args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

async function json<T>(mesh: Mesh, ...args: readonly string[]): Promise<T> {
  return JSON.parse(await done(mesh, ...args, "-o", "json")) as T;
}

/** Kills the leader and waits until another one leads. */
async function killLeader(mesh: Mesh): Promise<void> {
  const { pid, instance } = await json<{ pid: number; instance: string }>(mesh, "leader");
  process.kill(pid, "SIGKILL");
  const leader = async (): Promise<string> => {
    const { status, stdout } = await swarmctl(mesh, "leader", "-o", "json");
    return status === 0 ? (JSON.parse(stdout) as { instance: string }).instance : instance;
  };
  await expect.poll(leader, { timeout: PATIENCE_MS }).not.toBe(instance);
}

async function cause(mesh: Mesh, ...asked: readonly string[]): Promise<string> {
  return (await json<{ cause: string }>(mesh, "why", ...asked)).cause;
}

describe("a paused capability", () => {
  const ids = Array.from({ length: 5 }, (_, index) => `e${index}`);

  test("waits whoever leads, also what ran on a node that is lost", async ({ mesh }) => {
    await done(
      mesh,
      "task",
      "submit",
      "count",
      '{"n":60,"everyMs":50}',
      "--id",
      "k1",
      "--prefer",
      "n1",
    );
    await mesh.waitFor("k1", ({ progress }) => progress !== null);
    await done(mesh, "capability", "pause", "echo");
    await done(mesh, "capability", "pause", "count", "--reason", "look at n1 first");
    mesh.kill("n1");
    for (const id of ids) await done(mesh, "task", "submit", "echo", "hi", "--id", id);
    await mesh.waitFor("k1", ({ status }) => status === "retrying");
    await killLeader(mesh);
    // A new leader has settled when it serves what is not paused.
    const other = ["task", "submit", "other", "--id", "o1"];
    await done(mesh, ...other);
    await done(mesh, "task", "cancel", "o1");
    for (const id of [...ids, "k1"]) expect(await cause(mesh, "task", id)).toBe("paused");
    const { capabilities } = await json<{ capabilities: readonly object[] }>(
      mesh,
      "capability",
      "list",
    );
    expect(capabilities).toContainEqual(
      expect.objectContaining({ capability: "echo", running: 0, waiting: ids.length }),
    );
    expect(await mesh.record("e0")).toBeUndefined();
  });

  test("goes on when it is resumed, each task once", async ({ mesh }) => {
    await done(mesh, "capability", "resume", "echo");
    await done(mesh, "capability", "resume", "count");
    for (const id of ids) {
      const record = await mesh.waitFor(id, ({ status }) => status === "succeeded");
      expect(record).toMatchObject({ attempt: 1, result: "hi" });
    }
    expect(await mesh.waitFor("k1", ({ status }) => status === "succeeded")).toMatchObject({
      node: "n2",
      result: { counted: 60 },
    });
  });

  test("is an admin's to pause, and a viewer's to see", async ({ mesh }) => {
    const viewer = ["--server", mesh.url, "--nkey", mesh.key("viewer")];
    const refused = await swarmctl(mesh, "capability", "pause", "echo", ...viewer);
    expect(refused).toMatchObject({ status: 6, stdout: "" });
    await done(mesh, "capability", "pause", "echo");
    const list = await json<{ capabilities: readonly object[] }>(
      mesh,
      "capability",
      "list",
      ...viewer,
    );
    expect(list.capabilities).toContainEqual(
      expect.objectContaining({
        capability: "echo",
        paused: expect.objectContaining({ paused: true }),
      }),
    );
    await done(mesh, "capability", "resume", "echo");
  });
});

describe("a cordoned node", () => {
  test("is given nothing, also in its next life and under the next leader", async ({ mesh }) => {
    await mesh.startNode("n1");
    await done(mesh, "node", "cordon", "n1", "--reason", "new disk");
    mesh.kill("n1");
    await expect
      .poll(() => cause(mesh, "node", "n1"), { timeout: PATIENCE_MS })
      .toBe("node_failed");
    await mesh.startNode("n1");
    mesh.startService("coordinator");
    await killLeader(mesh);
    for (let index = 0; index < 6; index++) {
      const args = ["task", "submit", "echo", "hi", "--id", `c${index}`, "--prefer", "n1"];
      await done(mesh, ...args, "--wait");
      expect(await mesh.record(`c${index}`)).toMatchObject({ node: "n2" });
    }
    expect(await cause(mesh, "node", "n1")).toBe("cordoned");
    await done(mesh, "node", "uncordon", "n1");
    await done(mesh, "task", "submit", "echo", "hi", "--id", "c9", "--prefer", "n1", "--wait");
    expect(await mesh.record("c9")).toMatchObject({ node: "n1" });
  });
});
