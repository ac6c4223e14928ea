import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test as base } from "@swarm-mesh/testkit";
import { describe, expect } from "vitest";
import { FakeIo } from "./fake-io.ts";
import { SmallMesh } from "./small-mesh.ts";

const test = base.extend<{ readonly mesh: SmallMesh }>({
  mesh: async ({ deps, server, run }, use) => {
    await use(await SmallMesh.start({ deps, server, run }));
  },
});

describe("task", () => {
  test("submit prints the id, or the result when it waits", async ({ mesh }) => {
    expect(await mesh.swarmctl(["task", "submit", "echo", "hi", "--id", "e1"])).toEqual({
      status: 0,
      stdout: "e1 submitted\n",
      stderr: "",
    });
    expect(await mesh.json("task", "submit", "echo", "hi", "--id", "e1")).toEqual({
      id: "e1",
      duplicate: true,
    });
    const waited = await mesh.swarmctl(["task", "submit", "echo", '{"a": [1]}', "--wait"]);
    expect(waited).toMatchObject({ status: 0, stdout: '{\n  "a": [\n    1\n  ]\n}\n' });
    expect(
      await mesh.json("task", "submit", "echo", "hi", "--wait", "--lane", "low"),
    ).toMatchObject({ status: "succeeded", lane: "low", result: "hi" });
  });

  test("submit takes the payload from a file or standard input", async ({ mesh }) => {
    const cwd = await mkdtemp(join(tmpdir(), "mesh-cli-"));
    await writeFile(join(cwd, "in.txt"), "from a file");
    const io = new FakeIo({ cwd });
    const file = await mesh.swarmctl(["task", "submit", "echo", "@in.txt", "--wait"], io);
    expect(file.stdout).toBe("from a file\n");
    const piped = new FakeIo({ cwd });
    piped.typed = "from a pipe\n";
    const stdin = await mesh.swarmctl(["task", "submit", "echo", "-", "--wait"], piped);
    expect(stdin.stdout).toBe("from a pipe\n");
    const missing = await mesh.swarmctl(["task", "submit", "echo", "@no"], new FakeIo({ cwd }));
    expect(missing).toMatchObject({ status: 3 });
    await rm(cwd, { recursive: true });
  });

  test("a failure is a status, a line and a record", async ({ mesh }) => {
    const failed = await mesh.swarmctl(["task", "submit", "fail", "--id", "f1", "--wait"]);
    expect(failed).toEqual({
      status: 1,
      stdout: "",
      stderr: "swarmctl: task f1 failed: disk full (disk_full)\n",
    });
    expect(await mesh.swarmctl(["task", "wait", "f1", "-o", "json"])).toMatchObject({ status: 1 });
    const record = (await mesh.swarmctl(["task", "get", "f1"])).stdout;
    expect(record).toMatch(/^status +failed$/m);
    expect(record).toMatch(/^try 1 +disk_full on n1: disk full$/m);
    expect(await mesh.json("task", "get", "f1")).toMatchObject({ status: "failed", node: "n1" });
  });

  test("watch prints each change until the end", async ({ mesh }) => {
    await mesh.swarmctl(["task", "submit", "hang", "--id", "h1"]);
    const io = new FakeIo();
    const watching = mesh.swarmctl(["task", "watch", "h1"], io);
    await new Promise<void>((resolve) => {
      io.onOut = resolve;
    });
    expect(await mesh.json("task", "list", "--status", "running")).toMatchObject({
      tasks: [{ id: "h1", status: "running" }],
    });
    expect(await mesh.swarmctl(["task", "list"])).toMatchObject({
      stdout: expect.stringMatching(/^ID .*\nh1 +hang +normal +running +1 +n1 /),
    });
    const cancelled = await mesh.swarmctl(["task", "cancel", "h1"]);
    expect(cancelled).toMatchObject({ status: 0, stderr: "" });
    const watched = await watching;
    expect(watched.status).toBe(1);
    expect(watched.stdout).toMatch(/^running try 1 on n1/);
    expect(watched.stdout).toMatch(/cancelled try 1 on n1: .*\n$/);
    expect((await mesh.swarmctl(["task", "cancel", "h1"])).stdout).toContain("is cancelled");
  });

  test("unknown tasks are not found, and are not waited for without end", async ({ mesh }) => {
    const got = await mesh.swarmctl(["task", "get", "nope", "-o", "json"]);
    expect(got).toMatchObject({ status: 3, stdout: "" });
    expect(JSON.parse(got.stderr)).toMatchObject({ error: { code: "not_found", status: 3 } });
    // It may be on its way: then it is not to run.
    expect((await mesh.swarmctl(["task", "cancel", "soon"])).stdout).toBe("soon is cancelled\n");
    const late = await mesh.swarmctl(["task", "wait", "nope", "--wait-timeout", "50ms"]);
    expect(late).toMatchObject({ status: 5 });
    expect(late.stderr).toContain("did not end within 50 ms: it has no record yet");
    expect((await mesh.swarmctl(["task", "list", "--status", "failed"])).stdout).toBe(
      "no tasks with a record\n",
    );
  });
});

describe("node", () => {
  test("list and get show records and load", async ({ mesh }) => {
    expect((await mesh.swarmctl(["node", "list"])).stdout).toMatch(
      /^ID +STATE +SLOTS .*\nn1 +ACTIVE +\d\/2 +echo,fail,hang +zone=eu /,
    );
    expect(
      await mesh.json("node", "list", "--capability", "echo", "--label", "zone=eu"),
    ).toMatchObject({ nodes: [{ id: "n1", load: { slots: 2 } }] });
    expect(await mesh.json("node", "list", "--capability", "other")).toEqual({ nodes: [] });
    expect((await mesh.swarmctl(["node", "get", "n1"])).stdout).toMatch(/^agent main +2 slots: /m);
    expect(await mesh.swarmctl(["node", "get", "n2"])).toMatchObject({
      status: 3,
      stderr: "swarmctl: no node n2; there are n1\n",
    });
    expect(await mesh.swarmctl(["node", "list", "--capability", "a.b"])).toMatchObject({
      status: 2,
    });
    // Without the right to read leases a client is shown the records alone.
    const client = await mesh.json("node", "get", "n1", "--inbox", "client");
    expect(client).toMatchObject({ id: "n1", load: null });
  });

  test("drain makes it leave, which can be waited for", async ({ mesh }) => {
    expect(await mesh.swarmctl(["node", "drain", "n1", "--deadline", "2h"])).toMatchObject({
      status: 2,
    });
    const drained = await mesh.swarmctl(["node", "drain", "n1", "--deadline", "2s", "--wait"]);
    expect(drained).toEqual({ status: 0, stdout: "n1 left\n", stderr: "" });
    expect((await mesh.swarmctl(["node", "list"])).stdout).toMatch(/n1 +LEFT +-\/2/);
    expect(await mesh.swarmctl(["node", "drain", "n1"])).toMatchObject({ status: 3 });
  });
});

describe("the mesh", () => {
  test("has a leader and a status", async ({ mesh }) => {
    await mesh.swarmctl(["task", "submit", "hang", "--id", "h1"]);
    await mesh.swarmctl(["task", "submit", "other", "--lane", "high"]);
    expect(await mesh.json("leader")).toMatchObject({ instance: "test-1" });
    expect((await mesh.swarmctl(["leader"])).stdout).toMatch(
      /^leader +test-1\nepoch +\d+\nsince +20/,
    );
    expect(await mesh.json("status")).toMatchObject({
      leader: { instance: "test-1" },
      nodes: { ACTIVE: 1 },
      slots: { total: 2 },
      tasks: {
        stored: 2,
        delayed: 0,
        capabilities: [
          { capability: "hang", stored: { normal: 1 } },
          { capability: "other", stored: { high: 1 }, running: 0 },
        ],
      },
      dead: 0,
    });
    const text = (await mesh.swarmctl(["status"])).stdout;
    expect(text).toMatch(/^nodes +1 ACTIVE$/m);
    expect(text).toMatch(/^other +0 +1 +1 +0 +0 +0$/m);
    await mesh.swarmctl(["task", "cancel", "h1"]);
  });
});
