import { fileURLToPath } from "node:url";
import { CHECKPOINTS_BUCKET, checkpointKey, encode, kvSubject } from "@swarm-mesh/protocol";
import type { Log } from "@swarm-mesh/runtime";
import { silentLog } from "@swarm-mesh/runtime";
import { expect } from "vitest";
import { ModuleLoadError, moduleHandler } from "../src/mod.ts";
import { type Mesh, test } from "./mesh.ts";

const WORK = fileURLToPath(new URL("./modules/work.js", import.meta.url));
const NO_FUNCTION = fileURLToPath(new URL("./modules/no-function.js", import.meta.url));

test("runs a module's default export in a thread", async ({ mesh }) => {
  await start(mesh);
  const { plane } = mesh;
  plane.send(task("t1", { do: "sum", numbers: [1, 2, 3] }));
  expect(await plane.outcomes.next()).toMatchObject({ ok: true, result: 6 });
  plane.send(task("t2", { do: "env", name: "PATH" }));
  expect(await plane.outcomes.next()).toMatchObject({ result: process.env["PATH"] });
});

test("a module reports progress, saves, logs, and is given what was saved", async ({
  mesh,
  nc,
}) => {
  const lines: string[] = [];
  const log: Log = { ...silentLog, info: (_, message) => void lines.push(message) };
  const states = nc.subscribe(kvSubject(CHECKPOINTS_BUCKET.name, checkpointKey("n1", "t1")));
  const saved = states[Symbol.asyncIterator]();
  await start(mesh, log);
  mesh.plane.send({ ...task("t1", { do: "steps" }), attempt: 2, checkpoint: '{"step":0}' });
  const message = (await saved.next()).value;
  expect(message?.json()).toEqual({ step: 1, before: { step: 0 } });
  expect(message?.headers?.get("Mesh-Attempt")).toBe("2");
  expect(await mesh.plane.outcomes.next()).toMatchObject({
    result: { id: "t1", attempt: 2, saved: { step: 0 } },
  });
  expect(lines).toContain("one step done");
});

test("a module that computes without pause keeps neither pings nor other tasks waiting", async ({
  mesh,
}) => {
  const node = await start(mesh);
  const { plane } = mesh;
  plane.send(task("t1", { do: "spin" }));
  expect(await plane.progress.next()).toMatchObject({ progress: "spinning" });
  expect(await plane.ping()).toMatchObject({ running: 1 });
  plane.send(task("t2", { do: "sum", numbers: [4] }));
  expect(await plane.outcomes.next()).toMatchObject({ taskId: "t2", result: 4 });

  expect(await plane.cancel({ taskId: "t1", graceMs: 50 })).toEqual({ cancelled: true });
  await expect.poll(() => node.running).toBe(0);
  plane.send(task("t3", { do: "sum", numbers: [5] }));
  expect(await plane.outcomes.next()).toMatchObject({ taskId: "t3", result: 5 });
});

test("a module sees its signal abort", async ({ mesh }) => {
  const node = await start(mesh);
  mesh.plane.send({ ...task("t1", { do: "wait" }), timeout: "100ms" });
  expect(await mesh.plane.outcomes.next()).toMatchObject({ error: { code: "timeout" } });
  expect(node.running).toBe(0);
});

test.for([
  ["unknown", "handler_failed", true],
  ["final", "no_such_user", false],
  ["named", "handler_final", false],
  ["closure", "handler_final", false],
  ["large", "payload_too_large", false],
  ["exit", "handler_failed", true],
  ["uncaught", "handler_failed", true],
] as const)(
  "a module failing by %s is reported as %s",
  async ([what, code, retryable], { mesh }) => {
    await start(mesh);
    const { plane } = mesh;
    plane.send(task("t1", { do: what }));
    expect(await plane.outcomes.next()).toMatchObject({ ok: false, error: { code, retryable } });
    plane.send(task("t2", { do: "sum", numbers: [1] }));
    expect(await plane.outcomes.next()).toMatchObject({ ok: true, result: 1 });
  },
);

test.for([
  ["absent.js", "no such file"],
  [NO_FUNCTION, "not a function"],
  ["thing.ts", "expected a .js or .mjs file"],
] as const)("a node with the module %s does not join", async ([name, problem], { mesh }) => {
  const node = mesh.node().handle("work", moduleHandler(name));
  const failure = await node.start().catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(ModuleLoadError);
  expect(String(failure)).toContain(name);
  expect(String(failure)).toContain(problem);
  expect(mesh.plane.registrations).toEqual([]);
});

async function start(mesh: Mesh, log: Log = silentLog) {
  const node = mesh.node({ log, slots: 2 }).handle("work", moduleHandler(WORK));
  await node.start();
  return node;
}

function task(id: string, payload: unknown) {
  return { id, capability: "work", payload: encode(payload) };
}
