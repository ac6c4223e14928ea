import {
  BUCKETS,
  decode,
  encode,
  LEASES_BUCKET,
  NODES_BUCKET,
  STREAMS,
} from "@swarm-mesh/protocol";
import { silentLog, systemClock } from "@swarm-mesh/runtime";
import { type Deps, type Fixtures, test } from "@swarm-mesh/testkit";
import { headers } from "nats";
import { describe, expect, onTestFinished, test as plain } from "vitest";
import { z } from "zod";
import {
  atLeast,
  Bucket,
  BucketView,
  bucketStream,
  type Change,
  driftOf,
  ensureStores,
  openConnection,
  openManager,
  Requester,
  StoreMismatchError,
  watchLink,
} from "../src/mod.ts";
import { RestartableServer } from "./restartable.ts";

const Value = z.object({ n: z.number() });

describe("making sure of the stores", () => {
  test("creates every stream and bucket, and a repeat changes nothing", async ({ deps }) => {
    await ensureStores(deps.nc, deps.manager, 1);
    const names: string[] = [];
    for await (const stream of deps.manager.streams.list()) names.push(stream.config.name);
    expect(names.sort()).toEqual(
      [...STREAMS.map(({ name }) => name), ...BUCKETS.map(bucketStream)].sort(),
    );
  });

  test("two replicas may do it at once", async ({ nc }) => {
    const manager = await openManager(nc);
    await Promise.all([1, 2, 3].map(() => ensureStores(nc, manager, 1)));
  });

  test("refuses what differs, and says what", async ({ deps }) => {
    await deps.manager.streams.update("KV_mesh_nodes", { max_msgs_per_subject: 4 });
    const failure = ensureStores(deps.nc, deps.manager, 1);
    await expect(failure).rejects.toThrow(StoreMismatchError);
    await expect(failure).rejects.toThrow(
      "KV_mesh_nodes is not as the mesh needs it: max_msgs_per_subject is 4, expected 16.",
    );
  });

  test("refuses an old server", async ({ deps }) => {
    const old = { ...deps.nc, info: { ...deps.nc.info, version: "2.10.27" } };
    const failure = ensureStores(old as unknown as typeof deps.nc, deps.manager, 1);
    await expect(failure).rejects.toThrow("nats-server is 2.10.27; at least 2.12.0 is needed");
  });

  plain.each([
    ["2.12.0", "2.12.0", true],
    ["2.11.9", "2.12.0", false],
    ["3.0.0", "2.12.0", true],
    ["2.12.0-RC.1", "2.12.0", true],
    ["", "2.12.0", false],
  ])("%s is at least %s: %s", (version, least, expected) => {
    expect(atLeast(version, least)).toBe(expected);
  });

  plain("drift is told field by field; what the server leaves out is false, zero or empty", () => {
    const wanted = { name: "x", max_age: 0, subjects: ["a"], republish: { src: "a", dest: "b" } };
    expect(driftOf(wanted, { ...wanted, max_age: undefined, more: 1 })).toEqual([]);
    expect(driftOf(wanted, { ...wanted, republish: { dest: "b", src: "a" } })).toEqual([]);
    expect(driftOf(wanted, { name: "x", subjects: ["b"] })).toEqual([
      'subjects is ["b"], expected ["a"]',
      'republish is not set, expected {"dest":"b","src":"a"}',
    ]);
  });
});

describe("a bucket", () => {
  test("is written by revision: one of two writers wins", async ({ deps }) => {
    const bucket = new Bucket(NODES_BUCKET, deps.manager, deps.requester);
    expect(await bucket.read("n1")).toBeUndefined();
    const first = await bucket.write("n1", "1", 0);
    expect(first).toEqual({ kind: "stored", revision: 1, duplicate: false });
    expect(await bucket.write("n1", "2", 0)).toEqual({ kind: "conflict" });
    expect(await bucket.write("n1", "2", 1)).toMatchObject({ revision: 2 });
    const entry = await bucket.read("n1");
    expect(new TextDecoder().decode(entry?.value)).toBe("2");
    expect(entry?.revision).toBe(2);
  });

  test("shows a deleted key with its marker's revision", async ({ deps }) => {
    const bucket = new Bucket(NODES_BUCKET, deps.manager, deps.requester);
    await bucket.write("n1", "1", 0);
    await purge(deps, "$KV.mesh_nodes.n1");
    expect(await bucket.read("n1")).toMatchObject({ revision: 2, value: undefined });
    expect(await bucket.write("n1", "2", 2)).toMatchObject({ kind: "stored" });
  });

  test("rejects when the store does not answer", async ({ deps }) => {
    await deps.manager.streams.delete("KV_mesh_nodes");
    const bucket = new Bucket(NODES_BUCKET, deps.manager, deps.requester);
    await expect(bucket.read("n1")).rejects.toThrow();
    expect(await bucket.write("n1", "1", 0)).toMatchObject({ kind: "unknown" });
  });
});

describe("a view of what anyone may have written", () => {
  test("goes on behind an entry with headers nobody can read", async ({ deps, run }) => {
    const { view } = watching(deps, run);
    await until(() => view.current);
    for (const value of [encode({ n: 1 }), ""]) {
      const h = headers();
      (h as unknown as { headers: Map<string, string[]> }).headers.set("bad name", ["x"]);
      await deps.requester.stored("$KV.mesh_leases.a", value, { headers: h });
      const bucket = new Bucket(LEASES_BUCKET, deps.manager, deps.requester);
      expect((await bucket.read("a"))?.value).toEqual(new TextEncoder().encode(value));
    }
    await deps.requester.stored("$KV.mesh_leases.b", encode({ n: 2 }));
    await until(() => view.get("b") !== undefined);
    expect(view.get("a")).toBeUndefined();
  });
});

describe("a view", () => {
  test("follows every change, deletions and expiries too", async ({ deps, run }) => {
    const { view, seen } = watching(deps, run);
    await until(() => view.current);
    const bucket = new Bucket(LEASES_BUCKET, deps.manager, deps.requester);
    await bucket.write("a.1", encode({ n: 1 }), 0);
    await bucket.write("a.1", encode({ n: 2 }), 1);
    const h = headers();
    h.set("Nats-TTL", "1s");
    await deps.requester.stored("$KV.mesh_leases.b.1", encode({ n: 3 }), { headers: h });
    await until(() => view.get("b.1") !== undefined);
    expect(view.entry("a.1")).toMatchObject({ value: { n: 2 }, revision: 2 });
    expect([...view.entries()].length).toBe(view.size);
    await purge(deps, "$KV.mesh_leases.a.1");
    await until(() => view.size === 0);
    expect(seen.map(({ key, before, after }) => [key, before?.n, after?.n])).toEqual([
      ["a.1", undefined, 1],
      ["a.1", 1, 2],
      ["b.1", undefined, 3],
      ["a.1", 2, undefined],
      ["b.1", 3, undefined],
    ]);
  });

  test("has everything that was there when it becomes current", async ({ deps, run }) => {
    const bucket = new Bucket(LEASES_BUCKET, deps.manager, deps.requester);
    for (let n = 0; n < 100; n++) await bucket.write(`k.${n}`, encode({ n }), 0);
    await purge(deps, "$KV.mesh_leases.k.99");
    const { view } = watching(deps, run);
    await until(() => view.current);
    expect(view.size).toBe(99);
  });

  test("ignores what it cannot read", async ({ deps, run }) => {
    const bucket = new Bucket(LEASES_BUCKET, deps.manager, deps.requester);
    await bucket.write("a", "not JSON", 0);
    await bucket.write("b", encode({ n: 1 }), 0);
    const { view } = watching(deps, run);
    await until(() => view.current);
    expect([...view.entries()]).toEqual([["b", { n: 1 }]]);
  });

  plain("finds what changed while the server was away", { timeout: 20_000 }, async () => {
    const server = await RestartableServer.open();
    const nc = await openConnection({ servers: server.url, name: "view", inbox: "view" });
    const stop = new AbortController();
    onTestFinished(() => {
      stop.abort();
      return nc.close();
    });
    const deps = await depsOf(nc);
    const links: boolean[] = [];
    void watchLink(nc, (up) => links.push(up), stop.signal);
    const bucket = new Bucket(LEASES_BUCKET, deps.manager, deps.requester);
    for (const [index, key] of ["a", "b"].entries()) {
      const h = headers();
      h.set("Nats-TTL", key === "a" ? "1s" : "60s");
      const subject = `$KV.mesh_leases.${key}`;
      await deps.requester.stored(subject, encode({ n: index }), { headers: h });
    }
    const { view } = watching(deps, (service) => void service(stop.signal));
    await until(() => view.size === 2);
    await server.kill();
    await until(() => links.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    await server.start();
    await until(() => view.get("a") === undefined);
    await bucket.write("b", encode({ n: 7 }), (await bucket.read("b"))?.revision ?? 0);
    await until(() => view.get("b")?.n === 7);
    expect(links.slice(0, 2)).toEqual([false, true]);
    expect(view.size).toBe(1);
  });
});

async function depsOf(nc: Deps["nc"]): Promise<Pick<Deps, "nc" | "manager" | "requester">> {
  const manager = await openManager(nc);
  await ensureStores(nc, manager, 1);
  return { nc, manager, requester: new Requester(nc, { inboxPrefix: "_INBOX_view" }) };
}

function watching(deps: Pick<Deps, "nc" | "manager">, run: Fixtures["run"]) {
  const seen: Change<z.infer<typeof Value>>[] = [];
  const view = new BucketView({
    nc: deps.nc,
    manager: deps.manager,
    bucket: LEASES_BUCKET,
    clock: systemClock,
    log: silentLog,
    decode: (_, value) => decode(Value, value),
    onChange: (change) => seen.push(change),
  });
  run((signal) => view.run(signal));
  return { view, seen };
}

async function purge(deps: Pick<Deps, "requester">, subject: string): Promise<void> {
  const h = headers();
  h.set("KV-Operation", "PURGE");
  h.set("Nats-Rollup", "sub");
  await deps.requester.stored(subject, "", { headers: h });
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 10));
}
