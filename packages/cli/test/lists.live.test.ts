/** Lists of tasks and of events, against what is stored. */
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jetstream } from "@nats-io/jetstream";
import { test as base } from "@swarm-mesh/testkit";
import { describe, expect } from "vitest";
import { FakeIo } from "./fake-io.ts";
import { SmallMesh } from "./small-mesh.ts";

const test = base.extend<{ readonly mesh: SmallMesh }>({
  mesh: async ({ deps, server, run }, use) => {
    await use(await SmallMesh.start({ deps, server, run }));
  },
});

async function ids(mesh: SmallMesh, ...flags: readonly string[]): Promise<readonly string[]> {
  const { status, stdout, stderr } = await mesh.swarmctl(["task", "list", ...flags, "-o", "jsonl"]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const lines = stdout.split("\n").filter((line) => line !== "");
  return lines.map((line) => (JSON.parse(line) as { id: string }).id);
}

describe("task list", () => {
  test("finds tasks by all that can be asked of them", async ({ mesh }) => {
    for (const id of ["e1", "e2"]) {
      await mesh.swarmctl(["task", "submit", "echo", `"needle ${id}"`, "--id", id, "--wait"]);
    }
    await mesh.swarmctl(["task", "submit", "fail", "--id", "f1", "--max-attempts", "1", "--wait"]);
    await mesh.swarmctl(["task", "submit", "nobody", "--id", "w1", "--lane", "high"]);
    await mesh.swarmctl(["task", "submit", "nobody", "--id", "w2"]);
    for (const [flags, found] of [
      [[], ["f1", "e2", "e1"]],
      [
        ["--status", "succeeded"],
        ["e2", "e1"],
      ],
      [["--status", "failed", "--node", "n1"], ["f1"]],
      [["--node", "n2"], []],
      [["--capability", "echo", "--limit", "1"], ["e2"]],
      [["--error", "disk_full"], ["f1"]],
      [["--error", "DISK"], ["f1"]],
      [["--error", "timeout"], []],
      [["--search", "NEEDLE E1"], ["e1"]],
      [
        ["--newer-than", "1h"],
        ["f1", "e2", "e1"],
      ],
      [["--older-than", "1h"], []],
      [
        ["--status", "waiting"],
        ["w1", "w2"],
      ],
      [["--status", "waiting", "--search", "w2"], ["w2"]],
      [["--status", "waiting", "--capability", "nobody", "--older-than", "1h"], []],
    ] as const) {
      expect({ flags, found: await ids(mesh, ...flags) }).toEqual({ flags, found });
    }
    const some = await mesh.swarmctl(["task", "list", "--limit", "2"]);
    expect(some.stdout).toMatch(/\n\(there are more than 2 such tasks: --limit shows more/);
    expect(await mesh.json("task", "list", "--limit", "2")).toMatchObject({
      tasks: [{ id: "f1" }, { id: "e2", result: "needle e2" }],
      complete: false,
    });
    expect(await mesh.swarmctl(["task", "list", "--status", "lost"])).toMatchObject({ status: 2 });
    // A client is answered by the coordinator, and told what it may not ask.
    expect(await ids(mesh, "--status", "failed", "--inbox", "client")).toEqual(["f1"]);
    const denied = await mesh.swarmctl(["task", "list", "--search", "x", "--inbox", "client"]);
    expect(denied).toMatchObject({ status: 6 });
  });

  test("tells the newest version of each, however many there are", async ({ mesh, deps }) => {
    await mesh.swarmctl(["task", "submit", "hang", "--id", "h1"]);
    const lines = Array.from({ length: 1_200 }, (_, index) => `"${index}"`).join("\n");
    const file = join(tmpdir(), `mesh-lines-${process.pid}.txt`);
    await writeFile(file, lines);
    const sent = await mesh.json("task", "submit", "echo", "--lines", file, "--id", "m");
    expect(sent).toEqual({ submitted: 1_200, before: 0, failed: 0 });
    await expect
      .poll(async () => (await deps.manager.streams.info("MESH_TASKS")).state.messages, {
        timeout: 20_000,
      })
      .toBe(1);
    expect(await ids(mesh, "--status", "succeeded", "--limit", "5000")).toHaveLength(1_200);
    expect(await ids(mesh, "--status", "running")).toEqual(["h1"]);
    expect(await ids(mesh, "--search", '"1199"')).toEqual(["m-1200"]);
    await mesh.swarmctl(["task", "cancel", "h1"]);
    expect(await ids(mesh, "--status", "running")).toEqual([]);
  });
});

describe("task submit --lines", () => {
  test("is a task a line, the same again when it is repeated", async ({ mesh }) => {
    const io = new FakeIo();
    io.typed = "one\n\nthree\n";
    const submit = ["task", "submit", "echo", "--lines", "-", "--id", "l"];
    expect(await mesh.swarmctl(submit, io)).toMatchObject({ status: 0, stdout: "2 submitted\n" });
    const again = new FakeIo();
    again.typed = "one\n\nthree\n";
    expect((await mesh.swarmctl(submit, again)).stdout).toBe(
      "2 submitted, 2 of them once before\n",
    );
    expect((await mesh.swarmctl(["task", "wait", "l-3"])).stdout).toBe("three\n");
    expect(await mesh.swarmctl([...submit, "--wait"])).toMatchObject({ status: 2 });
    const none = await mesh.swarmctl(["task", "submit", "echo", "--lines", "no-such-file"]);
    expect(none).toMatchObject({ status: 3 });
  });
});

describe("events", () => {
  test("are shown oldest first, by node and kind, and since when", async ({ mesh }) => {
    const printed = async (): Promise<string> => (await mesh.swarmctl(["events"])).stdout;
    await expect.poll(printed).toMatch(/^20.* {2}coordinator leader elected: test-1, epoch \d+$/m);
    const stdout = await printed();
    expect(stdout).toMatch(
      /^20.* {2}node n1 joined: ready \(JOINING → ACTIVE, life \d+, says test-1\)$/m,
    );
    expect(await mesh.json("events", "--kind", "joined,left", "--node", "n1")).toMatchObject({
      events: [{ about: "node", who: "n1", kind: "joined", event: { to: "ACTIVE" } }],
      complete: true,
    });
    expect(
      await mesh.json("events", "--since", "2026-01-01T00:00:00Z", "--limit", "1"),
    ).toMatchObject({
      events: { length: 1 },
      complete: false,
    });
    expect(await mesh.swarmctl(["events", "--since", "soon"])).toMatchObject({ status: 2 });
  });

  test("are followed as they come", async ({ mesh, nc }) => {
    const io = new FakeIo();
    const following = mesh.swarmctl(["events", "-f", "--limit", "0", "--node", "n7"], io);
    const js = jetstream(nc);
    await expect
      .poll(async () => {
        await js.publish("mesh.events.node.n7.odd", '{"a":1}');
        return io.stdout;
      })
      .toMatch(/^20.* {2}node n7 odd {"a":1}\n/);
    expect(io.stdout).not.toContain("n1");
    io.stop.abort();
    expect(await following).toMatchObject({ status: 0 });
  });
});
