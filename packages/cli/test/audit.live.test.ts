import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AuditEntry, auditSubject } from "@swarm-mesh/protocol";
import { test as base, type Deps } from "@swarm-mesh/testkit";
import { expect } from "vitest";
import { run } from "../src/main.ts";
import { FakeIo } from "./fake-io.ts";
import { SmallMesh } from "./small-mesh.ts";

const test = base.extend<{ readonly mesh: SmallMesh; readonly dir: string }>({
  mesh: async ({ deps, server, run: runService }, use) => {
    await use(await SmallMesh.start({ deps, server, run: runService }));
  },
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  dir: async ({}, use) => {
    const dir = await mkdtemp(join(tmpdir(), "mesh-audit-"));
    await use(dir);
    await rm(dir, { recursive: true });
  },
});

/** The entries there are, once there is one of each action. */
async function entriesOf(mesh: SmallMesh, ...actions: string[]): Promise<readonly AuditEntry[]> {
  for (;;) {
    const { entries } = (await mesh.json("audit", "list")) as { entries: readonly AuditEntry[] };
    const there = new Set(entries.map(({ action }) => action));
    if (actions.every((action) => there.has(action))) return entries;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("tells who leads, what was submitted, cancelled and done by people", async ({ mesh, dir }) => {
  await mesh.swarmctl(["task", "submit", "echo", "hi", "--id", "e1", "--wait"]);
  await mesh.swarmctl(["task", "submit", "hang", "--id", "h1"]);
  await mesh.swarmctl(["task", "cancel", "h1"]);
  await mesh.swarmctl(["node", "cordon", "n1", "--reason", "new disk"]);
  const entries = await entriesOf(mesh, "task.submitted", "task.cancelled", "node.cordon");
  const told = entries.flatMap(({ action, details }) =>
    action === "task.submitted" ? (details["tasks"] as { ids: string[]; count: number }[]) : [],
  );
  expect(told.flatMap(({ ids }) => ids).sort()).toEqual(["e1", "h1"]);
  expect(told.reduce((sum, { count }) => sum + count, 0)).toBe(2);
  const one = (action: string) => entries.find((entry) => entry.action === action);
  expect(one("leader.elected")).toMatchObject({ seq: 1, target: "coordinator", by: "test-1" });
  expect(one("task.cancelled")).toMatchObject({ target: "h1", details: { capability: "hang" } });
  expect(one("node.cordon")).toMatchObject({
    ...{ target: "n1", reason: "new disk", by: "swarmctl" },
    who: { name: expect.stringContaining("@") },
  });

  const table = (await mesh.swarmctl(["audit", "list", "--action", "node"])).stdout;
  expect(table).toMatch(/^SEQ +AT .*\n\d+ .* node\.cordon +n1 .* swarmctl +new disk\n$/);
  const lines = (await mesh.swarmctl(["audit", "list", "--action", "node", "-o", "jsonl"])).stdout;
  expect(JSON.parse(lines)).toMatchObject({ action: "node.cordon", target: "n1" });
  const whole = await mesh.swarmctl(["audit", "verify"]);
  expect(whole).toMatchObject({ status: 0, stderr: "" });
  const [, anchor = ""] =
    /^entries 1 to \d+: whole\nanchor (\d+:[0-9a-f]{64})\n$/.exec(whole.stdout) ?? [];

  // What is exported is what is stored: it can be looked at anywhere.
  const exported = (await mesh.swarmctl(["audit", "export"])).stdout;
  await writeFile(join(dir, "audit.jsonl"), exported);
  const io = () => new FakeIo({ cwd: dir });
  const verify = ["audit", "verify", "--file", "audit.jsonl"];
  expect(await mesh.swarmctl([...verify, "--from-anchor", anchor], io())).toEqual({ ...whole });
  // The newest entry cut off: nobody sees it who has no anchor.
  const cut = `${exported.trimEnd().split("\n").slice(0, -1).join("\n")}\n`;
  await writeFile(join(dir, "audit.jsonl"), cut);
  expect(await mesh.swarmctl(verify, io())).toMatchObject({ status: 0 });
  expect(await mesh.swarmctl([...verify, "--from-anchor", anchor], io())).toMatchObject({
    status: 1,
    stdout: expect.stringContaining(": cut: the anchor is of entry"),
  });
  expect(await mesh.swarmctl(["audit", "verify", "--from-anchor", "4"])).toMatchObject({
    status: 2,
  });
});

test("a trail that was tampered with tells where, in the stream and in a file", async ({
  deps,
  server,
  dir,
}) => {
  const swarmctl = async (...args: string[]) => {
    const io = new FakeIo({ cwd: dir });
    const status = await run(["--server", server.url, ...args], io);
    return { status, out: io.stdout };
  };
  for (const node of ["n1", "n2", "n3", "n4", "n5"]) await swarmctl("node", "cordon", node);
  const lines = (await swarmctl("audit", "export")).out.trimEnd().split("\n");
  expect(lines).toHaveLength(5);
  const [third = "", fourth = ""] = lines.slice(2);
  const tampered: Readonly<Record<string, readonly [readonly string[], string]>> = {
    deleted: [lines.toSpliced(2, 1), "entry 3: missing: 3 is not there"],
    edited: [lines.with(2, third.replace("n3", "n9")), "entry 3: edited"],
    reordered: [lines.with(2, fourth).with(3, third), "entry 3: missing"],
    inserted: [lines.toSpliced(2, 0, third), "entry 3: misplaced"],
  };
  for (const [how, [altered, problem]] of Object.entries(tampered)) {
    await writeFile(join(dir, "audit.jsonl"), `${altered.join("\n")}\n`);
    const file = await swarmctl("audit", "verify", "--file", "audit.jsonl");
    expect.soft(file, how).toMatchObject({ status: 1, out: expect.stringContaining(problem) });
    await rebuild(deps, altered);
    const stream = await swarmctl("audit", "verify");
    expect.soft(stream.status, how).toBe(1);
    expect.soft(stream.out, how).toContain("entry 3: ");
  }
  await rebuild(deps, lines);
  expect(await swarmctl("audit", "verify")).toMatchObject({ status: 0 });
});

/** Whoever owns the server's disk can make the stream anew. */
async function rebuild({ manager, nc }: Deps, lines: readonly string[]): Promise<void> {
  const { config } = await manager.streams.info("MESH_AUDIT");
  await manager.streams.delete("MESH_AUDIT");
  await manager.streams.add(config);
  for (const text of lines) {
    await nc.request(auditSubject((JSON.parse(text) as AuditEntry).action), text);
  }
}
