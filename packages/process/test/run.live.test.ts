import { createServer } from "node:net";
import { aborted, latch } from "@swarm-mesh/runtime";
import { test } from "@swarm-mesh/testkit";
import { afterEach, beforeEach, expect, vi } from "vitest";
import { ProcessConfig, runService, type ServiceDefinition, type ServiceDeps } from "../src/mod.ts";

type Run = ServiceDefinition<typeof ProcessConfig>["run"];

const before = { ...process.env };
let said = "";

beforeEach(() => {
  said = "";
  vi.spyOn(process.stderr, "write").mockImplementation((chunk) => {
    said += String(chunk);
    return true;
  });
});

afterEach(() => {
  vi.mocked(process.stderr.write).mockRestore();
  for (const key of ["NATS_URL", "MESH_HTTP_PORT", "MESH_REPLICAS", "MESH_LOG_LEVEL"]) {
    if (before[key] === undefined) delete process.env[key];
    else process.env[key] = before[key];
  }
  process.removeAllListeners("SIGTERM").removeAllListeners("SIGINT");
});

test("says when it is ready, and ends with 0 when asked to", async ({ server }) => {
  const port = await freePort();
  const release = latch<void>();
  const ended = start(server.url, { MESH_HTTP_PORT: String(port) }, async (_, deps, signal) => {
    await release.promise;
    deps.ready();
    await aborted(signal);
  });
  const look = async (path: string): Promise<number> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    await response.text();
    return response.status;
  };
  await vi.waitFor(() => look("/healthz"), 5_000);
  const paths = ["/healthz", "/readyz", "/metrics", "/other"];
  expect(await Promise.all(paths.map(look))).toEqual([200, 503, 200, 404]);
  release.resolve();
  await vi.waitFor(async () => expect(await look("/readyz")).toBe(200));
  process.emit("SIGTERM");
  expect(await ended).toBe(0);
  await expect(look("/healthz")).rejects.toThrow();
});

test("gives the service a name, a clock and what it needs of NATS", async ({ server }) => {
  const given = latch<ServiceDeps>();
  const ended = start(server.url, {}, async (_, deps) => given.resolve(deps));
  const deps = await given.promise;
  expect(deps.instance).toMatch(/^thing-[A-Za-z0-9_-]+-\d+$/);
  expect(deps.nc.getServer()).toContain("127.0.0.1");
  expect(await ended).toBe(0);
});

test("ends with 1 when the service fails, and says where", async ({ server }) => {
  const ended = start(server.url, {}, () => Promise.reject(new Error("a bug")));
  expect(await ended).toBe(1);
  expect(said).toMatch(/^thing: Error: a bug\n +at /);
});

test("ends with 1 at the second signal", async ({ server }) => {
  const running = latch<void>();
  const ended = start(server.url, {}, () => {
    running.resolve();
    return new Promise(() => undefined);
  });
  await running.promise;
  process.emit("SIGINT");
  process.emit("SIGINT");
  expect(await ended).toBe(1);
});

test("ends with 1 when the connection is closed for good", async ({ server }) => {
  const ended = start(server.url, {}, async (_, deps, signal) => {
    await deps.nc.close();
    await aborted(signal);
  });
  expect(await ended).toBe(1);
  expect(said).toContain("the connection closed");
});

test("ends with 2 and one line when nobody can run with the configuration", async () => {
  const ended = start("nats://127.0.0.1:1", { MESH_REPLICAS: "many" }, async () => undefined);
  expect(await ended).toBe(2);
  expect(said).toMatch(/^thing: replicas: [^\n]+\n$/);
});

test("ends with 2 when a stream is not as it must be", async ({ server, deps }) => {
  await deps.manager.streams.update("MESH_EVENTS", { max_bytes: 1_000_000 });
  expect(await start(server.url, {}, async () => undefined)).toBe(2);
  expect(said).toContain("stream MESH_EVENTS is not as the mesh needs it: max_bytes is 1000000");
});

/** Runs a service as if it were this process's whole work. Resolves with the exit status. */
function start(url: string, env: Record<string, string>, run: Run): Promise<unknown> {
  Object.assign(process.env, { NATS_URL: url, MESH_LOG_LEVEL: "silent", ...env });
  const ended = latch<unknown>();
  // Never restored: the deadline of a polite stop comes when the test is long over.
  vi.spyOn(process, "exit").mockImplementation(((status: unknown) => {
    ended.resolve(status);
  }) as typeof process.exit);
  void runService({ name: "thing", config: ProcessConfig, run });
  return ended.promise;
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" ? (address?.port ?? 0) : 0));
    });
  });
}
