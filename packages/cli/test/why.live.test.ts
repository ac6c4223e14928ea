/** Why, of a mesh without a single process, and of one that was never made. */
import { setTimeout as sleep } from "node:timers/promises";
import { kvSubject, LEASES_BUCKET, leaderLeaseKey, nodeLeaseKey } from "@swarm-mesh/protocol";
import { test } from "@swarm-mesh/testkit";
import { headers } from "nats";
import { expect } from "vitest";
import { run } from "../src/main.ts";
import { FakeIo } from "./fake-io.ts";

async function why(url: string, ...args: readonly string[]) {
  const io = new FakeIo();
  const status = await run(["why", ...args, "--server", url], io);
  return { status, stdout: io.stdout, stderr: io.stderr };
}

test("nothing runs, and what is stored still answers", async ({ server, deps }) => {
  const named = headers();
  named.set("Nats-Msg-Id", "mine");
  for (const options of [{ headers: named }, {}]) {
    await deps.nc.request("mesh.tasks.submit.gpu.low", "", { ...options, timeout: 5_000 });
  }
  for (const id of ["mine", "s2"]) {
    const answer = await why(server.url, "task", id);
    expect(answer).toMatchObject({ status: 0, stderr: "" });
    expect(answer.stdout).toMatch(`${id} waits: no coordinator leads, so nothing is placed.\n  - `);
    expect(answer.stdout).toContain("besides: no node offers gpu");
    expect(answer.stdout).toContain("no coordinator answers discovery");
    expect(answer.stdout).toContain("lane low: 2 of 2 wait, the oldest for ");
  }
  expect((await why(server.url, "task", "s3")).stdout).toContain("s3 was never submitted");
  expect((await why(server.url, "gpu")).stdout).toContain("(gpu was taken for a capability;");
  expect((await why(server.url, "mine")).stdout).toContain("(mine was taken for a task;");
});

test("a task is found behind more messages than one batch has", async ({ server, deps }) => {
  const last = headers();
  last.set("Nats-Msg-Id", "last");
  for (let count = 0; count < 1_200; count++) deps.nc.publish("mesh.tasks.submit.gpu");
  await deps.nc.request("mesh.tasks.submit.upper.high", "", { headers: last, timeout: 5_000 });
  expect((await why(server.url, "task", "last")).stdout).toContain(
    "lane high, message 1201 of MESH_TASKS",
  );
  const none = (await why(server.url, "task", "nope")).stdout;
  expect(none).toContain("none of the 1201 messages in the queue is it");
});

test("without the mesh's streams it is not a mesh", async ({ server }) => {
  expect(await why(server.url, "task", "t1")).toMatchObject({
    status: 3,
    stderr: "swarmctl: stream not found\n",
  });
});

test("who leads is told however often the lease is renewed", async ({ server, deps }) => {
  const put = (key: string, value: object): Promise<unknown> =>
    deps.requester.stored(kvSubject(LEASES_BUCKET.name, key), JSON.stringify(value));
  const lease = { instance: "c1", pid: 1, host: "box", epoch: 1 };
  const load = { incarnation: 1, running: 0, slots: 1, rttMs: 0, lagMs: 0 };
  await put(leaderLeaseKey("coordinator"), lease);
  for (let node = 0; node < 20; node++) await put(nodeLeaseKey(`n${node}`), load);
  const asked = new AbortController();
  const renewing = async (): Promise<void> => {
    while (!asked.signal.aborted) {
      await put(leaderLeaseKey("coordinator"), lease);
      await sleep(3);
    }
  };
  const renewed = renewing();
  const statuses = new Set<number>();
  for (let times = 0; times < 150; times++) {
    statuses.add(await run(["leader", "--server", server.url], new FakeIo()));
  }
  asked.abort();
  await renewed;
  expect([...statuses]).toEqual([0]);
});
