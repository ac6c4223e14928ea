import { encode, kvSubject, TASKS_BUCKET } from "@swarm-mesh/protocol";
import { type Deps, test } from "@swarm-mesh/testkit";
import { describe, expect } from "vitest";
import { MeshClient } from "../src/mod.ts";
import { MeshDouble, recordOf } from "./mesh-double.ts";

const MANY = 100;
const ids = (count: number): string[] => Array.from({ length: count }, (_, i) => `w${i}`);

/** Writes the end of each task; nobody answers questions, so only what is republished tells of it. */
async function endAll(mesh: MeshDouble, tasks: readonly string[]): Promise<void> {
  await Promise.all(
    tasks.map((id) => mesh.write(recordOf({ id, status: "succeeded", result: id }))),
  );
}

/** Stores records of tasks that are nobody's here. */
function disturb(deps: Deps, from: number, count: number): Promise<unknown> {
  const records = Array.from({ length: count }, (_, i) => recordOf({ id: `other${from + i}` }));
  return Promise.all(
    records.map((record) =>
      deps.requester.stored(kvSubject(TASKS_BUCKET.name, record.id), encode(record)),
    ),
  );
}

describe("many waits at once", () => {
  test("hear each its own end, the first as well as the last", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    const client = new MeshClient(deps.nc);
    const waits = ids(MANY).map((id) => client.result(id));
    await deps.nc.flush();
    await endAll(mesh, ids(MANY));
    expect(await Promise.all(waits)).toEqual(ids(MANY));
    // And afterwards a single one, on whatever subscription it gets.
    const last = client.result("last");
    await deps.nc.flush();
    await endAll(mesh, ["last"]);
    expect(await last).toBe("last");
  });

  test("miss nothing while others end far more tasks", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    const client = new MeshClient(deps.nc);
    const tasks = ids(40);
    const waits = tasks.map((id) => client.result(id));
    await deps.nc.flush();
    const ended: Promise<void>[] = [];
    const start = performance.now();
    // For longer than the window after which the shared subscription is found too dear.
    for (let round = 0; performance.now() - start < 2_500; round++) {
      await disturb(deps, round * 500, 500);
      const task = tasks[round];
      if (task !== undefined) ended.push(endAll(mesh, [task]));
    }
    await Promise.all(ended);
    await endAll(mesh, tasks.slice(ended.length));
    expect(await Promise.all(waits)).toEqual(tasks);
  });

  test("each end on its own when their signals say so", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    const client = new MeshClient(deps.nc);
    const stop = new AbortController();
    const stopped = ids(MANY).map((id) => client.wait(id, { signal: stop.signal }));
    const kept = client.result("w0");
    stop.abort();
    const ends = await Promise.allSettled(stopped);
    expect(ends.every((end) => end.status === "rejected")).toBe(true);
    await endAll(mesh, ["w0"]);
    expect(await kept).toBe("w0");
  });
});
