import { wireError } from "@swarm-mesh/protocol";
import { test } from "@swarm-mesh/testkit";
import { connect } from "nats";
import { describe, expect } from "vitest";
import {
  connectClient,
  MeshClient,
  MeshClientError,
  RefusedRequestError,
  TaskFailedError,
  WaitTimeoutError,
} from "../src/mod.ts";
import { MeshDouble, recordOf } from "./mesh-double.ts";

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe("waiting", () => {
  test("hears the end of a task nobody knew when it began", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    mesh.answer();
    const waiting = new MeshClient(deps.nc).wait("w1");
    await deps.nc.flush();
    await mesh.write(recordOf({ id: "w1" }));
    await mesh.write(recordOf({ id: "w1", status: "succeeded", result: 3 }));
    expect(await waiting).toMatchObject({ id: "w1", status: "succeeded", result: 3 });
  });

  test("asks for a task that ended before", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    mesh.answer();
    await mesh.write(recordOf({ id: "w1", status: "succeeded", result: { ok: true } }));
    expect(await new MeshClient(deps.nc).result("w1")).toEqual({ ok: true });
  });

  test("needs nobody's answer while the server tells", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    const waiting = new MeshClient(deps.nc).wait("w1");
    await deps.nc.flush();
    await mesh.write(recordOf({ id: "w1", status: "succeeded" }));
    expect(await waiting).toMatchObject({ status: "succeeded" });
  });

  test("finds an end it did not hear, by asking again", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    // Nothing is republished: the record is known to who is asked alone.
    let record = recordOf({ id: "w1" });
    deps.nc.subscribe("mesh.tasks.get.w1", {
      callback: (_error, message) => {
        mesh.asked.push(message.subject);
        message.respond(JSON.stringify(record));
        record = { ...record, status: "succeeded" };
      },
    });
    expect(await new MeshClient(deps.nc).wait("w1")).toMatchObject({ status: "succeeded" });
    expect(mesh.asked.length).toBe(2);
  });

  test("throws the record of a task that failed, even though it looks like a refusal", async ({
    deps,
  }) => {
    const mesh = new MeshDouble(deps);
    mesh.answer();
    const error = wireError("handler_failed", "disk full", true);
    await mesh.write(recordOf({ id: "w1", status: "failed", error }));
    const client = new MeshClient(deps.nc);

    const failure = await failureOf(client.result("w1"));
    expect(failure).toBeInstanceOf(TaskFailedError);
    expect(failure).toMatchObject({
      code: "task_failed",
      message: "task w1 failed: disk full (handler_failed)",
      record: { id: "w1", error },
    });
    expect(await client.get("w1")).toMatchObject({ status: "failed" });
  });
});

describe("a wait in vain", () => {
  test("ends at its time-out, its signal, or with the connection", async ({ deps, server }) => {
    const client = new MeshClient(deps.nc);
    const late = await failureOf(client.wait("w1", { timeoutMs: 30 }));
    expect(late).toBeInstanceOf(WaitTimeoutError);
    expect(late).toMatchObject({ code: "timeout", record: undefined });

    const stop = new AbortController();
    const waiting = failureOf(client.wait("w1", { signal: stop.signal }));
    stop.abort();
    expect(await waiting).toMatchObject({ code: "aborted" });
    expect(await failureOf(client.wait("w1", { signal: stop.signal }))).toMatchObject({
      code: "aborted",
    });

    const other = await connectClient({ servers: server.url });
    const cut = failureOf(other.wait("w1"));
    await other.close();
    expect(await cut).toMatchObject({ code: "closed" });
    expect(await failureOf(other.get("w1"))).toMatchObject({ code: "closed" });
  });

  test("refuses what is no task id", async ({ deps }) => {
    const client = new MeshClient(deps.nc);
    expect(await failureOf(client.wait("a b"))).toBeInstanceOf(MeshClientError);
    expect(await failureOf(client.get("*"))).toMatchObject({ code: "bad_request" });
  });
});

describe("running", () => {
  test("submits and returns the result", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    mesh.answer();
    const client = new MeshClient(deps.nc);
    const running = client.run("echo", "hi", { id: "r1" });
    await deps.clock.sleep(20);
    await mesh.write(recordOf({ id: "r1", status: "succeeded", result: "hi" }));
    expect(await running).toBe("hi");
  });

  test("returns the result of a task that was run before", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    mesh.answer();
    await mesh.write(recordOf({ id: "r1", status: "succeeded", result: "hi" }));
    expect(await new MeshClient(deps.nc).run("echo", "hi", { id: "r1" })).toBe("hi");
  });

  test("does not ask about a new task while the server tells", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    mesh.answer();
    deps.nc.subscribe("mesh.tasks.submit.echo", {
      callback: (_error, message) => {
        const id = message.headers?.get("Nats-Msg-Id") ?? "";
        void mesh.write(recordOf({ id, status: "succeeded", result: 1 }));
      },
    });
    expect(await new MeshClient(deps.nc).run("echo")).toBe(1);
    expect(mesh.asked).toEqual([]);
  });
});

describe("watching", () => {
  test("yields each change, and the final one last", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    mesh.answer();
    const seen: string[] = [];
    const watching = (async () => {
      for await (const record of new MeshClient(deps.nc).watch("w1")) {
        seen.push(`${record.status} ${record.attempt}`);
      }
    })();
    await deps.clock.sleep(20);
    await mesh.write(recordOf({ id: "w1" }));
    await mesh.write(recordOf({ id: "w1", status: "retrying" }));
    await mesh.write(recordOf({ id: "w1", attempt: 2 }));
    await mesh.write(recordOf({ id: "w1", attempt: 2, status: "succeeded" }));
    await watching;
    expect(seen).toEqual(["running 1", "retrying 1", "running 2", "succeeded 2"]);
  });

  test("stops when the reader does", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    mesh.answer();
    await mesh.write(recordOf({ id: "w1" }));
    for await (const record of new MeshClient(deps.nc).watch("w1")) {
      expect(record.status).toBe("running");
      break;
    }
  });
});

describe("asking", () => {
  test("knows a record from none, and cancels", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    mesh.answer();
    await mesh.write(recordOf({ id: "t1" }));
    const client = new MeshClient(deps.nc);
    expect(await client.get("t1")).toMatchObject({ id: "t1", status: "running" });
    expect(await client.get("t2")).toBeUndefined();
    expect(await client.cancel("t1")).toMatchObject({ status: "cancelled" });
    const unknown = await failureOf(client.cancel("t2"));
    expect(unknown).toBeInstanceOf(RefusedRequestError);
    expect(unknown).toMatchObject({ refusal: { code: "not_found" } });
    expect(await client.list({ limit: 1 })).toMatchObject({ complete: true });
    expect(await client.nodes()).toEqual([]);
    expect(await failureOf(client.findNodes({}))).toMatchObject({ code: "malformed" });
  });

  test("outlasts a change of leader", async ({ deps }) => {
    const mesh = new MeshDouble(deps);
    const client = new MeshClient(deps.nc);
    const asking = client.nodes();
    await deps.clock.sleep(60);
    mesh.refusals = 2;
    mesh.answer();
    expect(await asking).toEqual([]);
    expect(mesh.asked.length).toBe(3);
  });

  test("says that nobody answered when its deadline is over", async ({ deps }) => {
    const client = new MeshClient(deps.nc, { deadlineMs: 500 });
    const failure = await failureOf(client.nodes());
    expect(failure).toMatchObject({ code: "unavailable" });
    // On a busy machine the last look may end with the deadline instead.
    expect(String(failure)).toMatch(/nobody answers|no answer in time/);
    const stop = new AbortController();
    stop.abort();
    const aborted = await failureOf(client.nodes({ signal: stop.signal }));
    expect(aborted).toMatchObject({ code: "aborted" });
  });

  test("outlives a restart of the connection", async ({ deps, server }) => {
    const mesh = new MeshDouble(deps);
    mesh.answer();
    const nc = await connect({ servers: server.url, reconnectTimeWait: 20 });
    const client = new MeshClient(nc);
    const waiting = client.wait("w1");
    await nc.flush();
    await nc.reconnect();
    await mesh.write(recordOf({ id: "w1", status: "succeeded" }));
    expect(await waiting).toMatchObject({ status: "succeeded" });
    const asking = client.nodes();
    await nc.reconnect();
    expect(await asking).toEqual([]);
    await nc.close();
  });
});
