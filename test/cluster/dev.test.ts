import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm, stat } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { MeshClient, TaskFailedError } from "@swarm-mesh/client";
import { isAlive, Mesh, type MeshOptions } from "@swarm-mesh/testkit";
import { test as base, expect, onTestFinished } from "vitest";

const test = base.extend<{ readonly start: (options?: MeshOptions) => Promise<Mesh> }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  start: async ({}, use) => {
    const meshes: Mesh[] = [];
    await use(async (options) => {
      const mesh = await Mesh.start(options);
      meshes.push(mesh);
      return mesh;
    });
    // Stopping asserts that the mesh ends with 0 and leaves no process.
    await Promise.all(meshes.map((mesh) => mesh.stop()));
  },
});

test("starts every process, says where they are, and leaves none", async ({ start }) => {
  const mesh = await start({ nodes: 2, replicas: 2 });
  const file: unknown = JSON.parse(await readFile(join(mesh.dir, "dev.json"), "utf8"));

  expect(file).toMatchObject({ url: mesh.url, keys: { client: mesh.key("client") } });
  expect(mesh.processes.map(({ name, kind }) => `${kind} ${name}`)).toEqual([
    "nats-server nats-server",
    "registry registry-1",
    "registry registry-2",
    "coordinator coordinator-1",
    "coordinator coordinator-2",
    "health-monitor health-monitor-1",
    "health-monitor health-monitor-2",
    "migrator migrator-1",
    "migrator migrator-2",
    "authenticator authenticator-1",
    "authenticator authenticator-2",
    "node n1",
    "node n2",
  ]);
  for (const { name, pid } of mesh.processes) {
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    // Directly, without a shell between: a signal to this pid reaches the process itself.
    if (command !== "") expect(command, name).toMatch(/nats-server|swarmctl\.js/);
  }
  for (const user of ["client", "viewer", "admin", "n1", "n2"]) {
    expect(isAbsolute(mesh.key(user))).toBe(true);
    expect((await stat(mesh.key(user))).mode & 0o777).toBe(0o600);
  }
});

test("runs a task for a client, and the command line shows it", async ({ start }) => {
  const mesh = await start({ nodes: 1 });
  const client = new MeshClient(await mesh.connect("client"));

  await expect(client.run("echo", { hello: "mesh" }, { id: "e1" })).resolves.toEqual({
    hello: "mesh",
  });
  const got = await mesh.swarmctl("task", "get", "e1", "-o", "json");
  expect(got.stderr).toBe("");
  expect(JSON.parse(got.stdout)).toMatchObject({ id: "e1", status: "succeeded", node: "n1" });

  const submitted = await mesh.swarmctl("task", "submit", "wordcount", "a b c", "--wait");
  expect(submitted).toEqual({ status: 0, stdout: "3\n", stderr: "" });
  expect((await mesh.swarmctl("status")).stdout).toMatch(/leader +coordinator-1/);
  expect((await mesh.swarmctl("node", "list")).stdout).toMatch(/n1 +ACTIVE/);
});

test("tells who failed and why, in the record, as an error and by status", async ({ start }) => {
  const mesh = await start({ nodes: 1, handles: ["fail=echo broken >&2; exit 1"] });
  const client = new MeshClient(await mesh.connect("client"));

  const failure = await client.run("fail", "", { id: "f1" }).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(TaskFailedError);
  const waited = await mesh.swarmctl("task", "wait", "f1");
  expect(waited).toMatchObject({ status: 1, stdout: "" });
  expect(waited.stderr).toContain("broken");

  const dead = await mesh.swarmctl("dead", "list", "-o", "json");
  expect(JSON.parse(dead.stdout)).toMatchObject({ dead: [{ task: "f1", status: "failed" }] });
  const first = await mesh.swarmctl("dead", "retry", "f1", "-o", "json");
  const again = await mesh.swarmctl("dead", "retry", "f1", "-o", "json");
  expect(JSON.parse(first.stdout)).toMatchObject({ id: "f1-r1", duplicate: false });
  // Its letter went when it was stored again, so there is nothing to do, and that is the answer.
  expect(JSON.parse(again.stdout)).toMatchObject({ retried: 0, missing: ["f1"] });
  expect(again.status).toBe(3);
});

test("goes on with a task elsewhere when its node is killed", async ({ start }) => {
  const mesh = await start({ nodes: 2 });
  const client = new MeshClient(await mesh.connect("client"));
  const input = { n: 8, everyMs: 200 };
  await client.submit("count", input, { id: "c1", prefer: "n2" });

  await mesh.waitFor("c1", (record) => record.node === "n2" && record.progress !== null);
  mesh.kill("n2");
  const record = await client.wait("c1", { timeoutMs: 30_000 });
  expect(record).toMatchObject({ status: "succeeded", node: "n1", attempt: 2 });
  expect(record.migrations).toMatchObject([{ from: "n2", to: "n1" }]);

  await mesh.startNode("n2");
  await mesh.startNode("n9");
  const active = async () => (await client.nodes()).filter(({ state }) => state === "ACTIVE");
  // A node has joined when it has its lease; the registry's replicas see that in their own time.
  await expect.poll(active).toHaveLength(3);
});

test("refuses a second mesh in the same directory", async ({ start }) => {
  const mesh = await start({ nodes: 0 });
  const second = await mesh.swarmctl("dev", "--port", "0", "--nodes", "0", "--dir", mesh.dir);
  expect(second.status).toBe(4);
  expect(second.stderr).toContain("already runs");
  expect(mesh.pids("coordinator")).toHaveLength(1);
});

test("ends what it started when a part of it does not start", async ({ start }) => {
  const mesh = await start({ nodes: 0 });
  const port = new URL(mesh.url).port;
  const other = join(mesh.dir, "other");
  const taken = await mesh.swarmctl("dev", "--port", port, "--dir", other);
  expect(taken.status).toBe(1);
  expect(taken.stderr).toContain(`port ${port} is taken`);

  const handle = "thumb=module:./nowhere.js";
  const broken = await mesh.swarmctl(
    ...["dev", "--port", "0", "--dir", other, "--nodes", "1", "--handle", handle],
  );
  expect(broken.status).toBe(1);
  expect(broken.stderr).toContain("n1 ended");
});

test("a test's mesh ends with the test, even when that is killed", async () => {
  const script = `import { Mesh } from "@swarm-mesh/testkit/mesh";
    const { dir, processes } = await Mesh.start({ nodes: 1 });
    console.log(JSON.stringify({ dir, pids: processes.map(({ pid }) => pid) }));`;
  const starter = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void starter.kill("SIGKILL"));
  const [printed] = await once(starter.stdout, "data");
  const { dir, pids } = JSON.parse(String(printed)) as { dir: string; pids: number[] };
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  expect(pids.filter(isAlive)).toHaveLength(7);

  starter.kill("SIGKILL");
  await expect.poll(() => pids.filter(isAlive), { timeout: 30_000 }).toEqual([]);
});
