/** Pausing a capability and cordoning a node, on a real server: what waits, what runs, who is told. */
import { test as base } from "@swarm-mesh/testkit";
import { describe, expect } from "vitest";
import { SmallMesh } from "./small-mesh.ts";

const test = base.extend<{ readonly mesh: SmallMesh }>({
  mesh: async ({ deps, server, run }, use) => {
    await use(await SmallMesh.start({ deps, server, run }));
  },
});

describe("capability", () => {
  test("pause holds its tasks back until it is resumed", async ({ mesh }) => {
    const paused = await mesh.swarmctl(["capability", "pause", "echo", "--reason", "new model"]);
    expect(paused).toEqual({
      status: 0,
      stdout: "echo is paused: what runs goes on, the rest waits\n",
      stderr: "",
    });
    expect(await mesh.json("capability", "pause", "echo")).toMatchObject({ change: "unchanged" });
    await mesh.swarmctl(["task", "submit", "echo", "hi", "--id", "e1"]);
    await mesh.swarmctl(["task", "submit", "echo", "hi", "--id", "e2", "--lane", "high"]);
    // Another capability's task ends meanwhile: the coordinator is not just slow.
    await mesh.swarmctl(["task", "submit", "fail", "--id", "f1", "--wait"]);
    expect(await mesh.json("why", "task", "e1")).toMatchObject({
      cause: "paused",
      sentence: expect.stringMatching(/^e1 waits: echo is paused since .* by .*: new model\.$/),
    });
    expect(await mesh.json("status")).toMatchObject({ held: { paused: ["echo"], cordoned: [] } });
    expect((await mesh.swarmctl(["status"])).stdout).toMatch(/^paused +echo$/m);
    expect(await mesh.json("capability", "list")).toMatchObject({
      capabilities: [
        {
          capability: "echo",
          nodes: 1,
          slots: 2,
          running: 0,
          waiting: 2,
          lanes: { high: 1, normal: 1, low: 0, retry: 0 },
          oldest: expect.stringMatching(/^20/),
          paused: { paused: true, reason: "new model" },
        },
        { capability: "fail", waiting: 0, oldest: null, paused: null },
        { capability: "hang", paused: null },
      ],
    });
    const text = (await mesh.swarmctl(["capability", "list"])).stdout;
    expect(text).toMatch(/^echo +1 +2 +0 +2 +0 +1 +1 +0 +\d+m?s +\d+m?s by .*: new model$/m);
    expect((await mesh.swarmctl(["capability", "resume", "echo"])).stdout).toBe(
      "echo is not paused\n",
    );
    for (const id of ["e1", "e2"]) {
      expect(await mesh.swarmctl(["task", "wait", id])).toMatchObject({ status: 0 });
    }
    expect((await mesh.swarmctl(["status"])).stdout).not.toContain("paused");
  });

  test("a name that nobody offers is told, one that is none is refused", async ({ mesh }) => {
    expect((await mesh.swarmctl(["capability", "pause", "ecko"])).stdout).toBe(
      "ecko is paused: what runs goes on, the rest waits; no node offers it now\n",
    );
    expect(await mesh.swarmctl(["capability", "pause", "a.b"])).toMatchObject({ status: 2 });
    expect((await mesh.swarmctl(["capability", "list"])).stdout).toMatch(/^ecko +0 +0 /m);
  });
});

describe("node", () => {
  test("cordon leaves it its tasks and gives it no other", async ({ mesh }) => {
    await mesh.swarmctl(["task", "submit", "hang", "--id", "h1"]);
    await expect
      .poll(async () => (await mesh.swarmctl(["task", "get", "h1"])).stdout)
      .toMatch(/running/);
    expect(await mesh.json("node", "cordon", "n1", "--reason", "new disk")).toEqual({
      id: "n1",
      cordoned: true,
      change: "changed",
      known: true,
    });
    await mesh.swarmctl(["task", "submit", "echo", "hi", "--id", "e1"]);
    expect(await mesh.json("why", "task", "e1")).toMatchObject({
      cause: "cordoned",
      sentence: "e1 waits: n1, the only node that offers echo, is cordoned.",
    });
    expect(await mesh.json("why", "node", "n1")).toMatchObject({
      cause: "cordoned",
      sentence: expect.stringMatching(/: new disk; it keeps 1 task and is given nothing new\.$/),
    });
    expect(await mesh.json("node", "list")).toMatchObject({
      nodes: [{ id: "n1", state: "ACTIVE", cordon: { reason: "new disk" }, load: { slots: 2 } }],
    });
    expect((await mesh.swarmctl(["node", "list"])).stdout).toMatch(/^n1 +ACTIVE,cordoned +1\/2 /m);
    expect((await mesh.swarmctl(["node", "get", "n1"])).stdout).toMatch(
      /^cordoned +.*: new disk$/m,
    );
    expect(await mesh.json("capability", "list")).toMatchObject({
      capabilities: expect.arrayContaining([
        expect.objectContaining({ capability: "echo", nodes: 0, cordoned: 1, slots: 0 }),
      ]),
    });
    expect((await mesh.swarmctl(["node", "uncordon", "n1"])).stdout).toBe("n1 is not cordoned\n");
    expect(await mesh.swarmctl(["task", "wait", "e1"])).toMatchObject({ status: 0 });
    expect((await mesh.swarmctl(["task", "get", "h1"])).stdout).toMatch(/running/);
    await mesh.swarmctl(["task", "cancel", "h1"]);
    expect((await mesh.swarmctl(["node", "cordon", "n9"])).stdout).toMatch(
      /knows no such node now/,
    );
  });
});
