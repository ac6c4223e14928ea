import { Header, MESH_TASKS, PAYLOAD_MAX_BYTES } from "@swarm-mesh/protocol";
import { test } from "@swarm-mesh/testkit";
import { connect } from "nats";
import { describe, expect } from "vitest";
import { MeshClient, newTaskId, SubmitError, type SubmitItem } from "../src/mod.ts";

async function failureOf(promise: Promise<unknown>): Promise<SubmitError> {
  const failure = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(SubmitError);
  return failure as SubmitError;
}

describe("a submit", () => {
  test("is stored with its id and headers, its body untouched", async ({ deps }) => {
    const client = new MeshClient(deps.nc);
    const submitted = await client.submit("resize", '{"w": 1}', {
      id: "r1",
      lane: "high",
      maxAttempts: 5,
      timeout: 90_000,
      backoff: { kind: "exponential", baseMs: 500, maxMs: 8_000 },
      requires: { gpu: "a100", zone: "eu" },
      prefer: "n1",
      strategy: "round_robin",
      trace: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
    });

    expect(submitted).toEqual({ id: "r1", duplicate: false });
    const stored = await deps.manager.streams.getMessage(MESH_TASKS.name, {
      last_by_subj: "mesh.tasks.submit.resize.high",
    });
    expect(stored?.string()).toBe('{"w": 1}');
    const header = (name: string): string | undefined => stored?.header.get(name);
    expect(header(Header.msgId)).toBe("r1");
    expect(header(Header.maxAttempts)).toBe("5");
    expect(header(Header.timeout)).toBe("90s");
    expect(header(Header.backoff)).toBe("exponential:500ms:8s");
    expect(header(Header.requires)).toBe("gpu=a100,zone=eu");
    expect(header(Header.prefer)).toBe("n1");
    expect(header(Header.strategy)).toBe("round_robin");
    expect(header(Header.traceparent)).toMatch(/^00-a+-b+-01$/);
  });

  test("again with the same id is the same task", async ({ deps }) => {
    const client = new MeshClient(deps.nc);
    await client.submit("echo", 1, { id: "e1" });
    expect(await client.submit("echo", 1, { id: "e1" })).toEqual({ id: "e1", duplicate: true });
  });

  test.for([
    ["bytes", new Uint8Array([0, 255, 7]), [0, 255, 7]],
    ["text", "hi", [104, 105]],
    ["JSON", { a: [1] }, [...Buffer.from('{"a":[1]}')]],
    ["nothing", undefined, []],
  ] as const)("sends %s", async ([, payload, expected], { deps }) => {
    const { id } = await new MeshClient(deps.nc).submit("echo", payload);
    expect(id).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
    const stored = await deps.manager.streams.getMessage(MESH_TASKS.name, { seq: 1 });
    expect([...(stored?.data ?? [])]).toEqual(expected);
  });
});

describe("a submit that cannot be", () => {
  test.for<[string, SubmitItem, string, RegExp]>([
    ["a bad capability", { capability: "a.b" }, "bad_capability", /"a\.b" is no capability/],
    ["a bad id", { capability: "a", id: "x y" }, "bad_request", /is no task id/],
    ["a bad lane", { capability: "a", lane: "fast" as "low" }, "bad_capability", /is no lane/],
    ["a bad timeout", { capability: "a", timeout: "soon" }, "bad_header", /Mesh-Timeout/],
    ["a bad backoff", { capability: "a", backoff: "fixed" }, "bad_header", /Mesh-Backoff/],
    ["too many tries", { capability: "a", maxAttempts: 1_000 }, "bad_header", /from 1 to 100/],
    ["bad labels", { capability: "a", requires: { "a b": "c" } }, "bad_header", /Mesh-Requires/],
    ["a bad node", { capability: "a", prefer: "n 1" }, "bad_header", /Mesh-Prefer/],
    ["a bad strategy", { capability: "a", strategy: "best" }, "bad_header", /one of least_loaded/],
    ["a line break", { capability: "a", prefer: "n1\r\nX: y" }, "bad_header", /line break/],
    ["no JSON", { capability: "a", payload: 1n }, "bad_request", /cannot be written as JSON/],
    ["a function", { capability: "a", payload: () => 1 }, "bad_request", /a function cannot/],
    [
      "a large body",
      { capability: "a", payload: "x".repeat(PAYLOAD_MAX_BYTES + 1) },
      "payload_too_large",
      /1048577 bytes/,
    ],
  ])("refuses %s before it is sent", async ([, item, code, message], { deps }) => {
    const client = new MeshClient(deps.nc);
    const failure = await failureOf(client.submit(item.capability, item.payload, item));
    expect(failure.code).toBe(code);
    expect(failure.message).toMatch(message);
  });
});

describe("a submit without an answer", () => {
  test("is sent again with its id until a store is there", async ({ nc, deps }) => {
    await deps.manager.streams.delete(MESH_TASKS.name);
    const client = new MeshClient(nc, { deadlineMs: 10_000 });
    const submitting = client.submit("echo", "hi", { id: "late" });
    await deps.clock.sleep(120);
    await deps.manager.streams.add({ name: MESH_TASKS.name, subjects: ["mesh.tasks.submit.>"] });
    expect(await submitting).toEqual({ id: "late", duplicate: false });
  });

  test("fails as unavailable at the deadline, and says which id to use again", async ({ nc }) => {
    const client = new MeshClient(nc, { deadlineMs: 200 });
    const failure = await failureOf(client.submit("echo", "hi", { id: "e1" }));
    expect(failure).toMatchObject({ code: "unavailable", taskId: "e1" });
    expect(failure.message).toMatch(/not known to be stored after \d tr/);
  });

  test("is sent again as soon as the link is back", async ({ deps, server }) => {
    await deps.manager.streams.delete(MESH_TASKS.name);
    deps.nc.subscribe("mesh.tasks.submit.echo", { callback: () => undefined });
    await deps.nc.flush();
    const nc = await connect({ servers: server.url, reconnectTimeWait: 20 });
    const submitting = new MeshClient(nc).submit("echo", "hi", { id: "e1" });
    await nc.flush();
    // The one who heard it says nothing; what the new link brings is stored.
    await deps.manager.streams.add({ name: MESH_TASKS.name, subjects: ["mesh.tasks.submit.>"] });
    const before = deps.clock.elapsed();
    await nc.reconnect();
    expect(await submitting).toEqual({ id: "e1", duplicate: false });
    expect(deps.clock.elapsed() - before).toBeLessThan(2_000);
    await nc.close();
  });

  test("ends when its signal aborts or the connection is closed", async ({ nc }) => {
    const client = new MeshClient(nc);
    const stop = new AbortController();
    const submitting = client.submit("echo", "hi", { signal: stop.signal });
    stop.abort();
    expect((await failureOf(submitting)).code).toBe("aborted");
    expect((await failureOf(client.submit("echo", "", { signal: stop.signal }))).code).toBe(
      "aborted",
    );
    await nc.close();
    expect((await failureOf(client.submit("echo", "hi"))).code).toBe("closed");
  });
});

describe("many submits", () => {
  test("are each stored once, whatever comes of the others", async ({ deps }) => {
    const client = new MeshClient(deps.nc);
    const items = Array.from({ length: 2_000 }, (_, index) =>
      index === 7 ? { capability: "not one" } : { capability: "echo", payload: index },
    );
    const results = [];
    for await (const result of client.submitMany(items, { concurrency: 64 })) results.push(result);

    expect(results).toHaveLength(2_000);
    expect(new Set(results.map(({ index }) => index)).size).toBe(2_000);
    const failed = results.filter((result) => result.kind === "failed");
    expect(failed).toMatchObject([{ index: 7, error: { code: "bad_capability" } }]);
    const info = await deps.manager.streams.info(MESH_TASKS.name);
    expect(info.state.messages).toBe(1_999);
  });

  test("take from a slow source without holding results back", async ({ deps }) => {
    const client = new MeshClient(deps.nc);
    let given = 0;
    async function* source() {
      for (; given < 3; given++) {
        yield { capability: "echo", id: `s${given}` };
        await deps.clock.sleep(20);
      }
    }
    const seen: number[] = [];
    for await (const result of client.submitMany(source())) {
      expect(given).toBeLessThan(3);
      seen.push(result.index);
    }
    expect(seen).toEqual([0, 1, 2]);
  });

  test("take no more when nobody reads any more", async ({ deps }) => {
    const client = new MeshClient(deps.nc);
    let closed = false;
    function* source() {
      try {
        for (;;) yield { capability: "echo" };
      } finally {
        closed = true;
      }
    }
    for await (const result of client.submitMany(source(), { concurrency: 4 })) {
      expect(result.kind).toBe("submitted");
      break;
    }
    expect(closed).toBe(true);
  });

  test("end with the source's failure, or with the caller's signal", async ({ deps }) => {
    const client = new MeshClient(deps.nc);
    async function* failing() {
      yield { capability: "echo" };
      throw new Error("no more");
    }
    const reading = (async () => {
      for await (const _ of client.submitMany(failing())) await deps.clock.sleep(1);
    })();
    await expect(reading).rejects.toThrow("no more");

    const stop = new AbortController();
    async function* endless() {
      for (;;) {
        yield { capability: "echo", id: newTaskId() };
        await deps.clock.sleep(5);
      }
    }
    let count = 0;
    for await (const _ of client.submitMany(endless(), { signal: stop.signal })) {
      if (++count === 3) stop.abort();
    }
    expect(count).toBeGreaterThanOrEqual(3);
  });
});
