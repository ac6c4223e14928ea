/** Dead letters on a real server: listed, grouped, shown, retried and purged. */
import { test as base } from "@swarm-mesh/testkit";
import { describe, expect } from "vitest";
import { FakeIo } from "./fake-io.ts";
import { SmallMesh } from "./small-mesh.ts";

const test = base.extend<{ readonly mesh: SmallMesh }>({
  mesh: async ({ deps, server, run }, use) => {
    const mesh = await SmallMesh.start({ deps, server, run });
    await fourLetters(mesh);
    await use(mesh);
  },
});

/** f1 to f4 have failed. */
async function fourLetters(mesh: SmallMesh): Promise<void> {
  expect((await mesh.swarmctl(["dead", "list"])).stdout).toBe("no dead letters\n");
  for (const [index, id] of ["f1", "f2", "f3", "f4"].entries()) {
    const payload = id === "f4" ? "needle" : JSON.stringify({ n: index });
    const submit = ["task", "submit", "fail", payload, "--id", id, "--max-attempts", "1"];
    await mesh.swarmctl([...submit, "--requires", "zone=eu", "--wait"]);
  }
}

async function tasksOf(mesh: SmallMesh, ...flags: readonly string[]): Promise<readonly string[]> {
  const { stdout } = await mesh.swarmctl(["dead", "list", ...flags, "-o", "jsonl"]);
  const lines = stdout.split("\n").filter((line) => line !== "");
  return lines.map((line) => (JSON.parse(line) as { task: string }).task);
}

describe("dead letters", () => {
  test("are listed, newest first, as many as were asked for", async ({ mesh }) => {
    expect((await mesh.swarmctl(["dead", "list"])).stdout).toMatch(
      /^SEQ .*\n4 +f4 .*\n3 +f3 .*\n2 +f2 .*\n1 +f1 +fail +failed +1 +\d+\w+ +7 +disk full \(disk_full\)\n$/,
    );
    expect(await mesh.json("dead", "list", "--limit", "2")).toMatchObject({
      dead: [{ task: "f4" }, { task: "f3" }],
      complete: false,
    });
    expect((await mesh.swarmctl(["dead", "list", "--limit", "2"])).stdout).toMatch(
      /\n\(there are more than 2 dead letters: --limit/,
    );
    expect(await mesh.json("dead", "list", "--limit", "4")).toMatchObject({ complete: true });
  });

  test("are found by what is in them", async ({ mesh }) => {
    const all = ["f4", "f3", "f2", "f1"];
    for (const [flags, tasks] of [
      [["--search", "NEEDLE"], ["f4"]],
      [["--error", "disk_full", "--newer-than", "1h"], all],
      [["--error", "Disk F"], all],
      [["--error", "timeout"], []],
      [["--older-than", "1h"], []],
      [["--status", "rejected"], []],
      [["--node", "n1", "--capability", "fail", "--search", '"n":2'], ["f3"]],
    ] as const) {
      expect(await tasksOf(mesh, ...flags)).toEqual(tasks);
    }
  });

  test("are counted by how they ended", async ({ mesh }) => {
    expect(await mesh.json("dead", "list", "--group")).toEqual({
      groups: [
        expect.objectContaining({ code: "disk_full", shape: "disk full", count: 4, example: "f4" }),
      ],
    });
    expect((await mesh.swarmctl(["dead", "list", "--group"])).stdout).toMatch(
      /\n4 +disk_full +disk full +fail +\d+\w+ +\d+\w+ +f4\n$/,
    );
  });

  test("are shown with headers, body and every try", async ({ mesh }) => {
    expect(await mesh.json("dead", "show", "f1")).toMatchObject({
      seq: 1,
      task: "f1",
      capability: "fail",
      body: { n: 0 },
      error: { code: "disk_full" },
      tries: [{ attempt: 1, node: "n1", error: { code: "disk_full" } }],
      headers: { "Mesh-Max-Attempts": "1", "Mesh-Requires": "zone=eu" },
    });
    const text = (await mesh.swarmctl(["dead", "get", "f1"])).stdout;
    expect(text).toMatch(/^try 1 +disk_full on n1 at 20.*: disk full$/m);
    expect(text).toMatch(/body, 7 bytes:\n{\n/);
    expect(await mesh.swarmctl(["dead", "show", "f9"])).toMatchObject({ status: 3 });
  });
});

describe("dead retry", () => {
  test("says what it would do, and wants to be told what is meant", async ({ mesh }) => {
    expect(await mesh.swarmctl(["dead", "retry"])).toMatchObject({ status: 2 });
    expect(await mesh.swarmctl(["dead", "retry", "f9"])).toMatchObject({ status: 3 });
    const dry = await mesh.swarmctl(["dead", "retry", "--error", "disk_full", "--dry-run"]);
    expect(dry.stdout).toMatch(/\n4 dead letters would be meant; nothing was done\n$/);
    expect(await tasksOf(mesh)).toHaveLength(4);
  });

  test("submits under a new id, and the letter goes", async ({ mesh }) => {
    expect((await mesh.swarmctl(["dead", "retry", "f1", "--to", "echo"])).stdout).toMatch(
      /^f1-r1 submitted\n1 dead letter retried in /,
    );
    expect(await mesh.swarmctl(["task", "wait", "f1-r1"])).toMatchObject({ status: 0 });
    expect(await mesh.swarmctl(["dead", "show", "f1"])).toMatchObject({ status: 3 });
    expect(await mesh.json("dead", "retry", "--error", "disk_full", "--limit", "2")).toEqual({
      retried: 2,
      before: 0,
      failed: 0,
    });
    // They fail again: each has one new letter, of its new id.
    for (const id of ["f2-r2", "f3-r3"]) await mesh.swarmctl(["task", "wait", id]);
    expect([...(await tasksOf(mesh))].sort()).toEqual(["f2-r2", "f3-r3", "f4"]);
    expect(await mesh.json("dead", "retry", "f2-r2", "--to", "echo")).toMatchObject({ retried: 1 });
    const { tasks } = (await mesh.json("task", "list", "--search", "f2-r")) as {
      tasks: readonly { readonly id: string }[];
    };
    expect(tasks.map(({ id }) => id)).toContainEqual(expect.stringMatching(/^f2-r2-r[5-9]$/));
  });
});

describe("dead purge", () => {
  test("asks first, and deletes what is meant alone", async ({ mesh }) => {
    expect(await mesh.swarmctl(["dead", "purge", "--all"])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("4 dead letters would be deleted for good; say --yes"),
    });
    const no = new FakeIo();
    no.answer = false;
    expect(await mesh.swarmctl(["dead", "purge", "--all"], no)).toMatchObject({ status: 1 });
    expect(no.asked).toBe("Delete 4 dead letters for good?");
    expect(await tasksOf(mesh)).toHaveLength(4);
    const yes = new FakeIo();
    yes.answer = true;
    expect(await mesh.swarmctl(["dead", "purge", "--search", "needle"], yes)).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^1 dead letter purged/),
    });
    expect(await mesh.json("dead", "purge", "f1", "f2", "--yes")).toMatchObject({ purged: 2 });
    expect(await tasksOf(mesh)).toEqual(["f3"]);
    // One that is gone keeps none of the others.
    const rest = await mesh.swarmctl(["dead", "purge", "f1", "f3", "--yes", "-o", "json"]);
    expect(rest.status).toBe(3);
    expect(JSON.parse(rest.stdout)).toEqual({ purged: 1, before: 0, failed: 0, missing: ["f1"] });
  });
});
