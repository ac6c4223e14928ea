import { setTimeout as sleep } from "node:timers/promises";
import { encode, LEASES_BUCKET } from "@swarm-mesh/protocol";
import { type LogFields, latch, silentLog } from "@swarm-mesh/runtime";
import { type Deps, ManualClock, test } from "@swarm-mesh/testkit";
import { headers, type Msg, TimeoutError } from "nats";
import { describe, expect } from "vitest";
import { z } from "zod";
import {
  answer,
  ask,
  Lease,
  type LeaseOptions,
  listen,
  openConnection,
  RefusedError,
  Requester,
  serve,
} from "../src/mod.ts";

const Value = z.object({ n: z.number() });

describe("a request", () => {
  test("is answered, or known within a moment to have nobody to answer it", async ({ deps }) => {
    deps.nc.subscribe("echo", {
      callback: (_, message) => {
        message.respond(message.data);
      },
    });
    const reply = await deps.requester.request("echo", "hello");
    expect(reply.kind === "message" && reply.message.string()).toBe("hello");
    expect(await deps.requester.request("nobody", "")).toEqual({ kind: "no-responders" });
    expect(deps.requester.pending).toBe(0);
  });

  test("answered with headers nobody can read does not make the connection deaf", async ({
    deps,
  }) => {
    deps.nc.subscribe("hostile", {
      callback: (_, message) => {
        const h = headers();
        (h as unknown as { headers: Map<string, string[]> }).headers.set("bad name", ["x"]);
        message.respond("", { headers: h });
      },
    });
    expect((await deps.requester.request("hostile", "")).kind).toBe("message");
    expect((await deps.requester.request("nobody", "")).kind).toBe("no-responders");
  });

  test("larger than the server takes is refused here, and nothing of it is kept", async ({
    deps,
  }) => {
    const tooLarge = new Uint8Array(1024 * 1024 + 1);
    await expect(deps.requester.request("echo", tooLarge)).rejects.toThrow("max_payload");
    expect(deps.requester.pending).toBe(0);
  });

  test("times out by its own limit, on the requester's clock", async ({ nc, clock }) => {
    nc.subscribe("silent", { callback: () => undefined });
    await nc.flush();
    const requester = new Requester(nc, { inboxPrefix: "_INBOX_test", clock });
    const replies: string[] = [];
    requester.send("silent", "", (reply) => replies.push(reply.kind), { timeoutMs: 100 });
    requester.send("silent", "", (reply) => replies.push(reply.kind));
    await clock.advance(50);
    await clock.advance(50);
    expect(replies).toEqual(["timeout"]);
    expect(requester.pending).toBe(1);
    await clock.advance(5_000);
    expect(replies).toEqual(["timeout", "timeout"]);
  });

  test("ends when the connection is closed", async ({ server }) => {
    const nc = await openConnection({ servers: server.url, name: "own", inbox: "own" });
    nc.subscribe("silent", { callback: () => undefined });
    const requester = new Requester(nc, { inboxPrefix: "_INBOX_own" });
    const reply = requester.request("silent", "", { timeoutMs: 60_000 });
    await nc.close();
    expect(await reply).toEqual({ kind: "timeout" });
  });

  test("has its answer read as the schema, as a refusal, or as neither", async ({ deps }) => {
    const answers: Record<string, string> = {
      right: encode({ n: 1 }),
      refused: encode({ error: { code: "busy", message: "no slot", retryable: true } }),
      wrong: encode({ n: "one" }),
      broken: "{",
    };
    deps.nc.subscribe("ask.*", {
      callback: (_, message) => {
        message.respond(answers[message.subject.slice(4)] ?? "");
      },
    });
    const about = (what: string) => ask(deps.requester, `ask.${what}`, undefined, Value);
    expect(await about("right")).toEqual({ kind: "ok", value: { n: 1 } });
    expect(await about("refused")).toMatchObject({ kind: "refused", error: { code: "busy" } });
    expect(await about("wrong")).toMatchObject({
      kind: "malformed",
      problem: "n: Invalid input: expected number, received string",
    });
    expect(await about("broken")).toMatchObject({ kind: "malformed", problem: "not JSON" });
    expect(await ask(deps.requester, "nobody", {}, Value)).toEqual({ kind: "no-responders" });
  });
});

describe("a store's answer", () => {
  test.for([
    [
      { stream: "S", seq: 3 },
      { kind: "stored", revision: 3, duplicate: false },
    ],
    [
      { stream: "S", seq: 3, duplicate: true },
      { kind: "stored", revision: 3, duplicate: true },
    ],
    [{ error: { err_code: 10071 } }, { kind: "conflict" }],
    [{ error: { err_code: 10164, description: "x" } }, { kind: "unknown", message: "x" }],
    [{ error: { err_code: 10077, description: "full" } }, { kind: "refused", code: 10077 }],
    [{ error: {} }, { kind: "refused", code: 0, message: "" }],
    [{}, { kind: "unknown", message: "the answer was no PubAck" }],
    ["?", { kind: "unknown", message: "the answer was no PubAck" }],
  ] as const)("%j is %o", async ([body, expected], { deps }) => {
    deps.nc.subscribe("store", {
      callback: (_, message) => {
        message.respond(typeof body === "string" ? body : encode(body));
      },
    });
    expect(await deps.requester.stored("store", "")).toMatchObject(expected);
  });

  test("is unknown when nobody listens", async ({ deps }) => {
    expect(await deps.requester.stored("nobody", "")).toMatchObject({ kind: "unknown" });
  });
});

describe("a service", () => {
  test("answers in JSON or text, refuses with a code, and is discovered", async ({ deps, run }) => {
    const problems: LogFields[] = [];
    const warnings: LogFields[] = [];
    const log = {
      ...silentLog,
      warn: (fields: LogFields) => warnings.push(fields),
      error: (fields: LogFields) => problems.push(fields),
    };
    const listening = latch<void>();
    run((signal) =>
      serve(deps.nc, {
        name: "thing",
        version: "1.2.3",
        description: "a thing",
        metadata: { instance: "t-1" },
        endpoints: [{ name: "do", subject: "thing.*", handle }],
        onListening: () => listening.resolve(),
        log,
        signal,
      }),
    );
    await listening.promise;
    const say = async (what: string): Promise<string> => {
      const reply = await deps.requester.request(`thing.${what}`, "");
      return reply.kind === "message" ? reply.message.string() : reply.kind;
    };
    expect(await say("json")).toBe('{"n":1}');
    expect(await say("text")).toBe("as it is");
    const refused = '{"error":{"code":"not_found","message":"none","retryable":false}}';
    expect(await say("refuse")).toBe(refused);
    expect(await say("away")).toContain('"code":"unavailable"');
    expect(warnings).toMatchObject([{ subject: "thing.away" }]);
    expect(problems).toEqual([]);
    expect(await say("break")).toContain('"code":"unavailable","message":"a bug"');
    expect(problems).toMatchObject([{ subject: "thing.break" }]);
    const found = await deps.requester.request("$SRV.PING.thing", "");
    expect(found.kind === "message" && found.message.json()).toMatchObject({ version: "1.2.3" });
  });

  test("of replicas, one answers; of those that answer alone, all do", async ({ deps, run }) => {
    let count = 0;
    const replica = () => {
      const listening = latch<void>();
      const options = { name: "thing", version: "1.0.0", description: "", log: silentLog };
      const endpoints = [{ name: "do", subject: "thing", handle: () => ++count }];
      run((signal) => {
        const onListening = (): void => listening.resolve();
        return serve(deps.nc, { ...options, endpoints, onListening, signal });
      });
      return listening.promise;
    };
    await Promise.all([replica(), replica()]);
    await deps.requester.request("thing", "");
    expect(count).toBe(1);
    for (let index = 0; index < 2; index++) {
      run((signal) => answer(deps.nc, "alone", () => ++count, { log: silentLog, signal }));
    }
    await deps.requester.request("alone", "");
    await deps.nc.flush();
    expect(count).toBe(3);
  });

  test("refuses what is too much at once, and keeps quiet when told to", async ({ deps, run }) => {
    const release = latch<void>();
    run((signal) => answer(deps.nc, "slow", () => release.promise, { log: silentLog, signal }));
    const refusals: string[] = [];
    for (let index = 0; index < 1_005; index++) {
      deps.requester.send("slow", "", (reply) => {
        if (reply.kind === "message") refusals.push(reply.message.string());
      });
    }
    while (refusals.length < 5) await sleep(5);
    expect(refusals[0]).toContain("too many requests");
    release.resolve();
    await sleep(10);
    expect(refusals).toHaveLength(5);
  });
});

describe("listening", () => {
  test("hands out messages until aborted", async ({ deps }) => {
    const stop = new AbortController();
    const heard: string[] = [];
    const onMessage = (message: Msg): void => void heard.push(message.string());
    const listening = listen(deps.nc, "news", onMessage, { signal: stop.signal, queue: "q" });
    deps.nc.publish("news", "one");
    await deps.nc.flush();
    stop.abort();
    await listening;
    deps.nc.publish("news", "two");
    await deps.nc.flush();
    expect(heard).toEqual(["one"]);
  });

  test("rejects on a bug, instead of going deaf", async ({ deps }) => {
    const signal = new AbortController().signal;
    const broken = listen(
      deps.nc,
      "news",
      () => {
        throw new Error("a bug");
      },
      { signal },
    );
    deps.nc.publish("news", "one");
    await expect(broken).rejects.toThrow("a bug");
    expect(await deps.requester.request("news", "")).toEqual({ kind: "no-responders" });
  });
});

describe("a lease", () => {
  test("is granted to one, renewed by it, and free at once when given back", async ({ deps }) => {
    const mine = lease(deps, "mine");
    const yours = lease(deps, "yours");
    expect(await mine.grant(0)).toMatchObject({ kind: "stored", revision: 1 });
    expect(mine.trusted()).toBe(true);
    expect(await yours.grant(0)).toEqual({ kind: "conflict" });
    expect(yours.trusted()).toBe(false);
    expect(await mine.renew()).toBe("renewed");
    await mine.revoke();
    expect(mine.trusted()).toBe(false);
    expect(await yours.grant(3)).toMatchObject({ kind: "stored", revision: 4 });
    await mine.revoke();
    expect(await yours.renew()).toBe("renewed");
  });

  test("ends a margin before the server lets it go", async ({ deps }) => {
    const clock = new ManualClock();
    const mine = lease(deps, "mine", { clock, ttlMs: 3_000 });
    expect(mine.renewEveryMs).toBe(1_000);
    await mine.grant(0);
    await clock.advance(2_699);
    expect(mine.trusted()).toBe(true);
    await clock.advance(1);
    expect(mine.trusted()).toBe(false);
    expect(mine.remainingMs()).toBe(0);
  });

  test("expires at the server, and cannot be renewed then", { timeout: 10_000 }, async ({
    deps,
  }) => {
    const mine = lease(deps, "mine", { ttlMs: 1_000 });
    await mine.grant(undefined);
    const yours = lease(deps, "yours");
    while ((await yours.grant(2)).kind !== "stored") await sleep(50);
    expect(await mine.renew()).toBe("lost");
    expect(mine.trusted()).toBe(false);
  });

  test("is dropped without a word", async ({ deps }) => {
    const mine = lease(deps, "mine");
    await mine.grant(0);
    mine.drop();
    expect(mine.trusted()).toBe(false);
    expect(await lease(deps, "yours").grant(0)).toEqual({ kind: "conflict" });
  });
});

describe("a lease in doubt", () => {
  test("survives a renewal that was stored and never answered", async ({ deps }) => {
    const unsure = new UnsureRequester(deps.requester);
    const bytes = async () =>
      await deps.manager.streams.getMessage("KV_mesh_leases", {
        last_by_subj: "$KV.mesh_leases.leader.x",
      });
    const readBack = async () => {
      const message = await bytes();
      return { revision: message?.seq ?? 0, ours: message?.string() === "mine" };
    };
    const mine = lease(deps, "mine", { requester: unsure.requester, readBack });
    await mine.grant(0);
    unsure.deaf = true;
    expect(await mine.renew()).toBe("unknown");
    unsure.deaf = false;
    expect(await mine.renew()).toBe("unknown");
    expect(await mine.renew()).toBe("renewed");
    // The same, but another one has it meanwhile.
    unsure.deaf = true;
    await mine.renew();
    unsure.deaf = false;
    await deps.requester.stored("$KV.mesh_leases.leader.x", "yours");
    expect(await mine.renew()).toBe("lost");
  });

  test("is disputed without the right to read, and kept while reading fails", async ({ deps }) => {
    const unsure = new UnsureRequester(deps.requester);
    const mine = lease(deps, "mine", { requester: unsure.requester });
    await mine.grant(0);
    unsure.deaf = true;
    expect(await mine.renew()).toBe("unknown");
    expect(mine.trusted()).toBe(true);
    unsure.deaf = false;
    expect(await mine.renew()).toBe("disputed");
    expect(mine.trusted()).toBe(true);
    const broken = lease(deps, "mine", {
      requester: unsure.requester,
      readBack: () => Promise.reject(new Error("no answer")),
    });
    await broken.grant(undefined);
    unsure.deaf = true;
    await broken.renew();
    unsure.deaf = false;
    expect(await broken.renew()).toBe("unknown");
  });
});

/** Stores everything; while `deaf`, the answer does not arrive. */
class UnsureRequester {
  deaf = false;
  readonly requester: Requester;

  constructor(inner: Requester) {
    const stored: Requester["stored"] = async (...request) => {
      const answered = await inner.stored(...request);
      return this.deaf ? { kind: "unknown", message: "lost on the way" } : answered;
    };
    this.requester = Object.assign(Object.create(inner), { stored }) as Requester;
  }
}

function lease(deps: Deps, value: string, more: Partial<LeaseOptions> = {}): Lease {
  return new Lease({
    bucket: LEASES_BUCKET,
    key: "leader.x",
    ttlMs: 60_000,
    requester: deps.requester,
    clock: deps.clock,
    value: () => value,
    ...more,
  });
}

function handle(message: Msg): unknown {
  switch (message.subject) {
    case "thing.json":
      return { n: 1 };
    case "thing.text":
      return "as it is";
    case "thing.refuse":
      throw new RefusedError("not_found", "none");
    case "thing.away":
      throw new TimeoutError();
    default:
      throw new Error("a bug");
  }
}
