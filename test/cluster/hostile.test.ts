/** What strangers send as clients: each bad input gets a clear answer and harms nobody. */
import { gzipSync } from "node:zlib";
import { jetstreamManager } from "@nats-io/jetstream";
import { PAYLOAD_MAX_BYTES, SUBMIT_MAX_BYTES } from "@swarm-mesh/protocol";
import { nanos } from "nats";
import { describe, expect } from "vitest";
import { type HeaderList, test } from "./outside.ts";

const LONG = "x".repeat(5_000);
/** Above the control line's 4 KB the server ends the connection of whoever sent it. */
const LONG_TOKEN = "x".repeat(3_000);
/** JSON.stringify gives up on it; parsing does not. */
const DEEP = "[".repeat(10_000) + "]".repeat(10_000);

test.afterEach(({ outside }) => outside.unharmed());

describe("a body is bytes", () => {
  test.for<[string, string | Uint8Array, unknown]>([
    ["empty", "", ""],
    ["binary", new Uint8Array([0, 1, 2, 253]), "AAEC/Q=="],
    ["invalid UTF-8", new Uint8Array([0xff, 0xfe]), "//4="],
    ["truncated JSON", '{"a":', '{"a":'],
    ["a JSON scalar", "7", 7],
    ["no number", "NaN", "NaN"],
    ["a number beyond all", "1e400", null],
    ["the same key twice", '{"a":1,"a":2}', { a: 2 }],
    ["gzip", gzipSync("x".repeat(100_000)), gzipSync("x".repeat(100_000)).toString("base64")],
  ])(
    "%s: it runs, and the result is what the program printed",
    async ([, body, result], { outside }) => {
      const record = await outside.record(await outside.submit("echo", body));
      expect(record).toMatchObject({ status: "succeeded", result });
    },
  );

  test("keys of the language's own objects stay keys", async ({ outside }) => {
    const body = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}';
    const record = await outside.record(await outside.submit("echo", body));
    expect(JSON.stringify(record["result"])).toBe(body);
    expect(await outside.get("toString")).toMatchObject({ error: { code: "not_found" } });
  });

  test("10 000 levels deep: a final error says that no result can be made of it", async ({
    outside,
  }) => {
    const record = await outside.record(await outside.submit("echo", DEEP));
    expect(record).toMatchObject({ status: "failed", error: { code: "handler_final" } });
  });

  test("1 MB runs, one byte more is rejected, beyond the stream's limit it is refused", async ({
    outside,
  }) => {
    const most = Buffer.alloc(PAYLOAD_MAX_BYTES - 2, "x");
    const full = Buffer.concat([Buffer.from('"'), most, Buffer.from('"')]);
    const record = await outside.record(await outside.submit("echo", full));
    expect(record).toMatchObject({ status: "succeeded" });
    expect(String(record["result"])).toHaveLength(most.length);
    const over = await outside.submit("echo", Buffer.alloc(PAYLOAD_MAX_BYTES + 1, "x"));
    expect(await outside.record(over)).toMatchObject({
      status: "rejected",
      error: { code: "payload_too_large", message: expect.stringContaining("1048577 bytes") },
    });
    const submit = "mesh.tasks.submit.echo";
    const refused = await outside.ask(outside.client, submit, Buffer.alloc(SUBMIT_MAX_BYTES + 1));
    expect(refused.error).toMatchObject({ err_code: 10054 }); // message size exceeds maximum allowed
    const most2 = outside.client.info?.max_payload ?? 0;
    const beyond = outside.ask(outside.client, submit, Buffer.alloc(most2 + 1));
    await expect(beyond).rejects.toThrow(/max_payload/);
  });
});

describe("a submit that cannot run is rejected with the reason", () => {
  test.for<[string, string]>([
    ["dots", "a.b"],
    ["a wildcard", "*"],
    ["the other wildcard", "a.>"],
    ["a space", "a b"],
    ["5 KB", LONG],
    ["unicode", "ünï-код"],
    ["65 characters", "y".repeat(65)],
    ["a path", "../../etc/passwd"],
    ["a server's subject", "$JS.API.STREAM.PURGE.MESH_TASKS"],
  ])("a message id with %s", async ([, id], { outside }) => {
    const shown = JSON.stringify(id).slice(1, 60);
    await outside.rejected("echo", { "Nats-Msg-Id": id }, "bad_header", ["Nats-Msg-Id", shown]);
  });

  test("an id of spaces is none; names of the language's own objects are ids", async ({
    outside,
  }) => {
    const none = await outside.submit("echo", "1", { "Nats-Msg-Id": " " });
    expect(await outside.record(none)).toMatchObject({ id: none, status: "succeeded" });
    for (const id of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
      await outside.submit("echo", `"${id}"`, { "Nats-Msg-Id": id });
      expect(await outside.record(id)).toMatchObject({ id, status: "succeeded", result: id });
    }
  });

  test.for<[string, string]>([
    ["unicode", "ünï"],
    ["a percent sign", "%2e"],
    ["65 characters", "c".repeat(65)],
    ["3 000 characters", LONG_TOKEN],
    ["five tokens", "echo.high.a.b.c"],
    ["a bad lane", "echo.urgent"],
    ["a lane in capitals", "echo.HIGH"],
  ])("a subject with %s", async ([, subject], { outside }) => {
    await outside.rejected(subject, {}, "bad_capability", [subject.slice(0, 60)]);
  });

  const bad: Record<string, readonly string[]> = {
    "Mesh-Max-Attempts": ["0", "101", "-1", "1.5", "three", "9".repeat(400)],
    "Mesh-Timeout": ["0s", "-1s", "30", "25h", "1e3ms", "Infinity"],
    "Mesh-Backoff": ["linear:1s", "fixed", "fixed:1s:2s", "exponential:60s:1s", ":"],
    "Mesh-Requires": ["gpu", "gpu=a=b", "=x", "gpu=ünï", "gpu=a b", "__proto__=x", `${LONG}=1`],
    "Mesh-Prefer": ["n 1", "n.1", ">", LONG],
    "Mesh-Strategy": ["best", "__proto__", "LEAST_LOADED"],
  };
  test.for(Object.entries(bad))("%s: each bad value", async ([name, values], { outside }) => {
    for (const value of values) {
      const shown = JSON.stringify(value).slice(1, 60);
      await outside.rejected("echo", { [name]: value }, "bad_header", [`${name}: `, shown]);
    }
  });
});

describe("what else a submit may carry", () => {
  test("unknown headers, and the mesh's own ones of later steps, are ignored", async ({
    outside,
  }) => {
    const strange: HeaderList = {
      "X-Anything": ["1", "2"],
      "Mesh-Task-Id": "another",
      "Mesh-Attempt": "99",
      "Mesh-Epoch": "999999",
      "Mesh-Checkpoint": "////",
      "Mesh-Status": "succeeded",
      traceparent: "00-zz-zz-00",
    };
    const id = await outside.submit("echo", "1", strange);
    expect(await outside.record(id)).toMatchObject({
      status: "succeeded",
      attempt: 1,
      trace: null,
    });
    expect(await outside.get("another")).toMatchObject({ error: { code: "not_found" } });
  });

  test.for([
    "NATS/1.0\r\nBad Name: 1\r\n\r\n",
    "NATS/1.0\r\n: 1\r\n\r\n",
    "NATS/1.0\r\nno colon\r\n\r\n",
    "NATS/1.0\r\nMesh-Timeout: \xff\xfe\r\n\r\n",
    "NATS/1.0\r\nMesh-Timeout:\r\n 1s\r\n\r\n",
    "NATS/1.0 503\r\n\r\n",
    "NATS/1.0 100 Idle Heartbeat\r\n\r\n",
    "NATS/1.0\r\n\r\n\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "\0\0\0\0\r\n\r\n",
  ])("a header block that no library writes: %j", async (block, { outside }) => {
    const ack = await outside.submitBlock("echo", block);
    expect(ack).toMatchObject({ stream: "MESH_TASKS" });
    const record = await outside.record(`s${ack["seq"]}`);
    expect(["succeeded", "rejected"]).toContain(record["status"]);
    if (record["status"] === "rejected") expect(record.error).toMatchObject({ code: "bad_header" });
  });

  test("a label or node that nobody has: it waits, and stands in nobody's way", async ({
    outside,
  }) => {
    const id = await outside.submit("echo", "1", {
      "Mesh-Requires": "constructor=x,toString=y",
    });
    await outside.unharmed();
    expect(await outside.get(id)).toMatchObject({ error: { code: "not_found" } });
    expect(await outside.ask(outside.client, `mesh.tasks.cancel.${id}`)).toMatchObject({
      status: "cancelled",
    });
    const prefers = await outside.submit("echo", "1", { "Mesh-Prefer": "nobody" });
    expect(await outside.record(prefers)).toMatchObject({ status: "succeeded" });
  });

  test("the same id after its success runs nothing, within the dedupe window and beyond", async ({
    outside,
  }) => {
    const id = await outside.submit("echo", '"first"', { "Nats-Msg-Id": "once" });
    const first = await outside.record(id);
    const again = () =>
      outside.ask(outside.client, "mesh.tasks.submit.echo.low", '"second"', {
        "Nats-Msg-Id": id,
      });
    expect(await again()).toMatchObject({ duplicate: true });
    // The window is the stream's: a short one stands for two minutes that pass.
    const manager = await jetstreamManager(outside.admin);
    const { config } = await manager.streams.info("MESH_TASKS");
    await manager.streams.update(config.name, { duplicate_window: nanos(100) });
    try {
      await expect.poll(async () => (await again())["duplicate"] ?? false).toBe(false);
      await outside.unharmed();
    } finally {
      await manager.streams.update(config.name, { duplicate_window: config.duplicate_window });
    }
    expect(await outside.get(id)).toEqual(first);
    const waiting = await manager.streams.info("MESH_TASKS", { subjects_filter: ">" });
    expect(waiting.state.subjects?.["mesh.tasks.submit.echo.low"]).toBeUndefined();
  });
});

describe("requests of clients", () => {
  test.for(["a%b", "ünï", LONG_TOKEN])(
    "get and cancel of a malformed id %#",
    async (id, { outside }) => {
      for (const verb of ["get", "cancel"]) {
        const answer = await outside.ask(outside.client, `mesh.tasks.${verb}.${id}`, DEEP);
        expect(answer).toMatchObject({ error: { code: "bad_request", retryable: false } });
      }
    },
  );

  test("an unknown id is not found, and cancelled for good when asked", async ({ outside }) => {
    expect(await outside.get("never-was")).toMatchObject({ error: { code: "not_found" } });
    const cancel = () => outside.ask(outside.client, "mesh.tasks.cancel.never-was", DEEP);
    const record = await cancel();
    expect(record).toMatchObject({ id: "never-was", status: "cancelled", attempt: 0 });
    expect(await cancel()).toEqual(record);
    await outside.submit("echo", "1", { "Nats-Msg-Id": "never-was" });
    await outside.unharmed();
    expect(await outside.get("never-was")).toEqual(record);
  });

  test("a 5 KB id ends the asker's connection, and nobody else's", async ({ outside }) => {
    const own = await outside.mesh.connect("client");
    await expect(own.request(`mesh.tasks.get.${LONG}`, "", { timeout: 1_000 })).rejects.toThrow();
    await own.close();
  });

  test.for<[string, string]>([
    ['{"status":"bogus"}', "status"],
    ['{"limit":0}', "limit"],
    ['{"limit":1001}', "limit"],
    ['{"limit":"10"}', "limit"],
    ['{"capability":"a b"}', "capability"],
    ['{"node":"*"}', "node"],
    ["[]", "expected object"],
    ["{", "not JSON"],
    [DEEP, "expected object"],
  ])("a list with a bad filter %#", async ([body, word], { outside }) => {
    const answer = await outside.ask(outside.client, "mesh.tasks.list", body);
    expect(answer.error).toMatchObject({ code: "bad_request" });
    expect(answer.error?.message).toContain(word);
  });

  test.for<[string, string]>([
    ['{"capability":"a b"}', "capability"],
    ['{"labels":{"a b":"c"}}', "labels"],
    ["7", "expected object"],
  ])("a find with a bad filter %#", async ([body, word], { outside }) => {
    const answer = await outside.ask(outside.client, "mesh.registry.find", body);
    expect(answer.error).toMatchObject({ code: "bad_request" });
    expect(answer.error?.message).toContain(word);
  });

  test.for<["client" | "viewer", string]>([
    ["client", "mesh.tasks.retry.echo"],
    ["client", "mesh.tasks.delayed.x"],
    ["client", "mesh.tasks.outcome.n1.x"],
    ["client", "mesh.node.n1.drain"],
    ["client", "mesh.coordinator.move.x"],
    ["client", "$KV.mesh_tasks.x"],
    ["client", "$JS.API.STREAM.PURGE.MESH_TASKS"],
    ["viewer", "mesh.tasks.submit.echo"],
    ["viewer", "mesh.tasks.cancel.x"],
    ["viewer", "$KV.mesh_nodes.n1"],
    ["viewer", "$JS.API.STREAM.DELETE.MESH_TASKS"],
  ])("a %s may not publish %s", async ([user, subject], { outside }) => {
    await expect(outside.ask(outside[user], subject, "{}")).rejects.toThrow(/permission/i);
  });
});
