import { STRATEGIES } from "@swarm-mesh/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Backlog, type Precedence, type Waiting } from "../src/backlog.ts";
import { PROBE_MAX, PULL_MAX, planPulls, toSettle, UNKNOWN_HELD_MAX } from "../src/demand.ts";
import { type Candidate, choose, type Wish } from "../src/routing.ts";

const candidate = (id: string, more: Partial<Candidate> = {}): Candidate => ({
  id,
  host: id,
  labels: {},
  used: 0,
  slots: 4,
  rttMs: 1,
  costPerHour: 0,
  lastGiven: 0,
  ...more,
});
const wish = (more: Partial<Wish> = {}): Wish => ({
  strategy: "least_loaded",
  requires: undefined,
  prefer: undefined,
  payloadBytes: 256,
  localHost: "here",
  ...more,
});

describe("choose", () => {
  test.each([
    {
      name: "the least loaded",
      strategy: "least_loaded" as const,
      nodes: [candidate("a", { used: 2 }), candidate("b", { used: 1 })],
      chosen: "b",
    },
    {
      name: "whoever waited longest",
      strategy: "round_robin" as const,
      nodes: [candidate("a", { lastGiven: 5 }), candidate("b", { lastGiven: 3, used: 3 })],
      chosen: "b",
    },
    {
      name: "a node on the coordinator's host",
      strategy: "local_first" as const,
      nodes: [candidate("a"), candidate("b", { host: "here", used: 3 })],
      chosen: "b",
    },
    {
      name: "the nearest",
      strategy: "latency_aware" as const,
      nodes: [candidate("a", { rttMs: 40 }), candidate("b", { rttMs: 2, used: 2 })],
      chosen: "b",
    },
    {
      name: "the highest priority label",
      strategy: "priority" as const,
      nodes: [candidate("a"), candidate("b", { labels: { priority: "2" }, used: 3 })],
      chosen: "b",
    },
    {
      name: "the cheaper of equal priority",
      strategy: "priority" as const,
      nodes: [candidate("a", { costPerHour: 3 }), candidate("b", { costPerHour: 1, used: 2 })],
      chosen: "b",
    },
  ])("$strategy takes $name", ({ strategy, nodes, chosen }) => {
    expect(choose(nodes, wish({ strategy }), 0)?.id).toBe(chosen);
  });

  test("bandwidth_aware minds the distance for large payloads alone", () => {
    const nodes = [candidate("far", { rttMs: 20 }), candidate("near", { rttMs: 1, used: 2 })];
    const small = wish({ strategy: "bandwidth_aware", payloadBytes: 100 });
    const large = wish({ strategy: "bandwidth_aware", payloadBytes: 900_000 });
    expect(choose(nodes, small, 0)?.id).toBe("far");
    expect(choose(nodes, large, 0)?.id).toBe("near");
  });

  test("a preferred node is taken when it is able, and no obstacle when it is not", () => {
    const nodes = [candidate("a"), candidate("b", { used: 3 })];
    expect(choose(nodes, wish({ prefer: "b" }), 0)?.id).toBe("b");
    const full = [candidate("a"), candidate("b", { used: 4 })];
    expect(choose(full, wish({ prefer: "b" }), 0)?.id).toBe("a");
  });

  test("never chooses a full node or one without the labels", () => {
    const arbitraryCandidate = fc.record({
      used: fc.nat(4),
      gpu: fc.constantFrom(undefined, "a100", "h100"),
      rttMs: fc.nat(100),
    });
    fc.assert(
      fc.property(
        fc.array(arbitraryCandidate, { maxLength: 100 }),
        fc.constantFrom(...STRATEGIES),
        fc.nat(1_000),
        (specs, strategy, turn) => {
          const nodes = specs.map(({ used, gpu, rttMs }, index) =>
            candidate(`n${index}`, { used, rttMs, labels: gpu === undefined ? {} : { gpu } }),
          );
          const chosen = choose(nodes, wish({ strategy, requires: { gpu: "a100" } }), turn);
          const able = nodes.filter((node) => node.used < 4 && node.labels["gpu"] === "a100");
          if (able.length === 0) expect(chosen).toBeUndefined();
          else expect(able).toContain(chosen);
        },
      ),
    );
  });
});

describe("toSettle", () => {
  test.each([
    ["what the old leader had, whatever waits", 3, 1_000, 3],
    ["nothing, when it had nothing", 0, 1_000, 0],
    ["all there is, when nobody can say", undefined, 7, 7],
    ["the first of many, when nobody can say", undefined, 1_000_000, UNKNOWN_HELD_MAX],
  ])("%s", (_, held, waiting, expected) => {
    expect(toSettle(held, waiting)).toBe(expected);
  });
});

describe("planPulls", () => {
  const idle = { outstanding: 0, waiting: 0 };
  test.each([
    { name: "no room", lanes: [idle, idle], room: 0, asks: [0, 0] },
    {
      name: "idle lanes keep a probe open",
      lanes: [idle, idle],
      room: 1000,
      asks: [PROBE_MAX, PROBE_MAX],
    },
    {
      name: "a backlog takes all the room",
      lanes: [{ outstanding: 0, waiting: 50 }, idle],
      room: 10,
      asks: [10, 0],
    },
    {
      name: "much room is filled in parts",
      lanes: [{ outstanding: PULL_MAX / 4, waiting: 100_000 }, idle],
      room: 50_000,
      asks: [(PULL_MAX * 3) / 4, 0],
    },
    {
      name: "a short backlog leaves some",
      lanes: [{ outstanding: 0, waiting: 4 }, idle],
      room: 10,
      asks: [10, 6],
    },
    {
      name: "what was asked for counts",
      lanes: [{ outstanding: 8, waiting: 50 }, idle],
      room: 10,
      asks: [0, 0],
    },
  ])("$name", ({ lanes, room, asks }) => {
    expect(planPulls(lanes, room)).toEqual(asks);
  });

  test("never asks a lane for more than there is room", () => {
    const lane = fc.record({ outstanding: fc.nat(100), waiting: fc.nat(1_000_000) });
    fc.assert(
      fc.property(fc.array(lane, { minLength: 4, maxLength: 4 }), fc.nat(500), (lanes, room) => {
        for (const ask of planPulls(lanes, room)) expect(ask).toBeLessThanOrEqual(room);
      }),
    );
  });
});

describe("Backlog", () => {
  const waiting = (
    seq: number,
    precedence: Precedence,
    gpu?: string,
  ): Waiting & { gone: boolean } => ({
    capability: "echo",
    precedence,
    seq,
    requires: gpu === undefined ? undefined : { gpu },
    gone: false,
  });

  test("hands out by lane, then by age, and passes over what does not fit", () => {
    const backlog = new Backlog<Waiting>();
    const tasks = [
      waiting(1, "low"),
      waiting(4, "high"),
      waiting(2, "high", "a100"),
      waiting(3, "high"),
    ];
    for (const task of tasks) backlog.push(task);
    const plain = () => backlog.take(["echo"], (_, requires) => requires === undefined)?.seq;
    expect([plain(), plain(), plain(), plain()]).toEqual([3, 4, 1, undefined]);
    expect(backlog.apart).toBe(1);
    expect(backlog.take(["echo"], () => true)?.seq).toBe(2);
    expect(backlog.size).toBe(0);
  });

  test("drops what is gone", () => {
    const backlog = new Backlog<Waiting & { gone: boolean }>();
    const task = waiting(1, "high");
    backlog.push(task);
    task.gone = true;
    expect(backlog.take(["echo"], () => true)).toBeUndefined();
    expect(backlog.size).toBe(0);
  });
});
