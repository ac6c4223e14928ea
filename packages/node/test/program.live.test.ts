import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CHECKPOINTS_BUCKET, checkpointKey, kvSubject } from "@swarm-mesh/protocol";
import { expect } from "vitest";
import { programHandler, type TaskHandler } from "../src/mod.ts";
import { spawnGroup } from "../src/process-group.ts";
import { type Mesh, test } from "./mesh.ts";

const SUBJECT = kvSubject(CHECKPOINTS_BUCKET.name, checkpointKey("n1", "t1"));

test("gives the payload on stdin; stdout is the result, JSON or text", async ({ mesh }) => {
  const { plane } = mesh;
  const node = mesh.node();
  node.handle("wc", programHandler("wc -w"));
  node.handle("say", programHandler("echo two; echo lines"));
  node.handle("env", programHandler('echo "$MESH_TASK_ID/$MESH_ATTEMPT/$MESH_CAPABILITY/$MORE"'));
  node.handle("trace", programHandler('printf "%s" "$TRACEPARENT"', { env: { MORE: "x" } }));
  await node.start();

  plane.send({ id: "t1", capability: "wc", payload: "one two three" });
  expect(await plane.outcomes.next()).toMatchObject({ ok: true, result: 3 });
  plane.send({ id: "t2", capability: "say", payload: new Uint8Array(900_000) });
  expect(await plane.outcomes.next()).toMatchObject({ ok: true, result: "two\nlines" });
  plane.send({ id: "t3", capability: "env", attempt: 2 });
  expect(await plane.outcomes.next()).toMatchObject({ result: "t3/2/env/" });
  const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
  plane.send({ id: "t4", capability: "trace", traceparent });
  expect(await plane.outcomes.next()).toMatchObject({ result: traceparent });
});

test.for([
  ["exit 75", "handler_failed", true, "exited with status 75"],
  ["echo try later >&2; exit 75", "handler_failed", true, "try later"],
  ["echo broken >&2; exit 3", "handler_final", false, "broken"],
  ["exit 1", "handler_final", false, "exited with status 1"],
  ["kill -9 $$", "handler_failed", true, "killed by SIGKILL"],
  ["head -c 3000 /dev/zero | tr '\\0' x >&2; echo END >&2; exit 1", "handler_final", false, "END"],
  ["head -c 1100000 /dev/zero; sleep 60", "payload_too_large", false, "stdout"],
] as const)(
  "a program ending with %s is %s",
  async ([command, code, retryable, text], { mesh }) => {
    await mesh.node().handle("run", programHandler(command)).start();
    mesh.plane.send({ id: "t1", capability: "run" });
    const outcome = await mesh.plane.outcomes.next();
    expect(outcome).toMatchObject({ ok: false, error: { code, retryable } });
    if (outcome.ok) return;
    expect(outcome.error.message).toContain(text);
    expect(outcome.error.message.length).toBeLessThanOrEqual(2_048);
  },
);

test("saves what the program writes to its checkpoint file, while it runs and at its end", async ({
  mesh,
  nc,
}) => {
  const saved = savedStates(nc);
  const program =
    'cat "$MESH_CHECKPOINT"; echo -n one > "$MESH_CHECKPOINT"; while [ ! -e "$GO" ]; do sleep 0.02; done;';
  const directory = await mkdtemp(join(tmpdir(), "mesh-test-"));
  const go = join(directory, "go");
  const last = 'echo -n two > "$MESH_CHECKPOINT"; exit 75';
  await start(mesh, programHandler(program + last, { env: { GO: go } }));
  mesh.plane.send({ id: "t1", capability: "run", checkpoint: "zero" });
  expect(await saved()).toBe("one");
  await writeFile(go, "");
  expect(await saved()).toBe("two");
  expect(await mesh.plane.outcomes.next()).toMatchObject({ error: { code: "handler_failed" } });
  await rm(directory, { recursive: true });
});

test("gives the program what an earlier try saved", async ({ mesh }) => {
  await start(mesh, programHandler('cat "$MESH_CHECKPOINT"'));
  mesh.plane.send({ id: "t1", capability: "run", checkpoint: "zero" });
  expect(await mesh.plane.outcomes.next()).toMatchObject({ ok: true, result: "zero" });
});

test("a cancel ends the whole process group, grandchildren and the deaf included", async ({
  mesh,
}) => {
  const node = await start(
    mesh,
    programHandler(
      `trap '' TERM; sh -c 'trap "" TERM; echo $$; sleep 100 & wait; sleep 100' & wait`,
    ),
  );
  const before = await groupsNow();
  await mesh.plane.dispatch({ id: "t1", capability: "run" });
  const started = (await groupsNow()).filter((pid) => !before.includes(pid));
  expect(started.length).toBeGreaterThanOrEqual(3);
  await mesh.plane.cancel({ taskId: "t1", graceMs: 100 });
  await expect.poll(() => node.running).toBe(0);
  await expect.poll(() => alive(started)).toEqual([]);
});

test("a polite program may clean up on SIGTERM", async ({ mesh, nc }) => {
  const saved = savedStates(nc);
  const program = `trap 'echo -n bye > "$MESH_CHECKPOINT"; exit 75' TERM; sleep 100 & wait`;
  await start(mesh, programHandler(program));
  mesh.plane.send({ id: "t1", capability: "run", timeout: "200ms" });
  expect(await saved()).toBe("bye");
  expect(await mesh.plane.outcomes.next()).toMatchObject({ error: { code: "timeout" } });
});

test("what a program leaves behind ends with it", async ({ mesh }) => {
  await start(mesh, programHandler("sleep 100 & echo $!"));
  mesh.plane.send({ id: "t1", capability: "run" });
  const outcome = await mesh.plane.outcomes.next();
  const pid = outcome.ok ? Number(outcome.result) : 0;
  expect(pid).toBeGreaterThan(0);
  await expect.poll(() => alive([pid])).toEqual([]);
});

test("a group dies with the process that started it, even when that is killed", async () => {
  const child = spawnGroup("echo $$; sleep 100", process.env);
  const exited = once(child, "exit");
  await once(child.stdout ?? child, "data");
  // What the group sees of a `kill -9`: the other end of its pipe is gone.
  child.stdio[3]?.destroy();
  expect((await exited)[1]).toBe("SIGKILL");
});

async function start(mesh: Mesh, handler: TaskHandler) {
  const node = mesh.node().handle("run", handler);
  await node.start();
  return node;
}

/** Each state saved for task `t1`, as text. */
function savedStates(nc: Mesh["deps"]["nc"]): () => Promise<string | undefined> {
  const messages = nc.subscribe(SUBJECT)[Symbol.asyncIterator]();
  return async () => (await messages.next()).value?.string();
}

/** Ids of the processes whose group's leader is a child of this process. */
async function groupsNow(): Promise<number[]> {
  const rows = execFileSync("ps", ["-eo", "pid=,ppid=,pgid="]).toString().trim().split("\n");
  const all = rows.map((row) => row.trim().split(/\s+/).map(Number));
  const leaders = all.filter(([pid, ppid, pgid]) => ppid === process.pid && pid === pgid);
  const groups = new Set(leaders.map(([pid]) => pid));
  return all.filter(([, , pgid]) => groups.has(pgid)).map(([pid]) => pid ?? 0);
}

/** Which of `pids` are running: neither gone nor waiting to be reaped. */
async function alive(pids: readonly number[]): Promise<number[]> {
  const found: number[] = [];
  for (const pid of pids) {
    const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    if (text !== "" && !/^\d+ \(.*\) Z/.test(text)) found.push(pid);
  }
  return found;
}
