/** `top` without a terminal: keys in, lines out; and what follows from two looks. */
import { LeaderLease, NodeLease, NodeRecord, TaskRecord } from "@swarm-mesh/protocol";
import { isoTime } from "@swarm-mesh/runtime";
import { describe, expect, test } from "vitest";
import type { Queue } from "../src/queues.ts";
import { bodyLines, headLines, viewLines, windowOf } from "../src/top/draw.ts";
import { capabilityRows, type Look, nodeRows, type Picture, ratesOf } from "../src/top/picture.ts";
import { type Key, press, START, type Ui } from "../src/top/ui.ts";

const NOW = 1_795_262_580_000;
const ago = (seconds: number): string => isoTime(NOW - seconds * 1_000);
const LEASE = LeaderLease.parse({ instance: "coordinator-1", pid: 7, host: "box", epoch: 3 });
const NODE_LEASE = NodeLease.parse({ incarnation: 5, running: 0, slots: 2, rttMs: 1, lagMs: 0 });

function node(id: string, state: NodeRecord["state"], reason: string): NodeRecord {
  const capabilities = ["upper"];
  return NodeRecord.parse({
    ...{ id, incarnation: 5, state, reason, host: "box", port: 0, role: "worker", labels: {} },
    ...{ slots: 2, capabilities, agents: [{ name: "main", capabilities, slots: 2 }] },
    ...{ cpu: 1, memoryBytes: 0, version: "", joinedAt: ago(300), updatedAt: ago(60) },
  });
}

const FAILED_TASK = TaskRecord.parse({
  ...{
    id: "t1",
    capability: "upper",
    lane: "normal",
    status: "failed",
    attempt: 1,
    maxAttempts: 1,
  },
  ...{ node: "n1", agent: "main", incarnation: 5, epoch: 3, submittedAt: ago(40) },
  ...{ startedAt: ago(30), finishedAt: ago(20), progress: null, result: null, migrations: [] },
  error: { code: "disk_full", message: "disk full", retryable: false },
  ...{ tries: [], dueAt: null, trace: null },
});

const NO_SETTINGS = { paused: new Map(), cordoned: new Map() };
const BY = { reason: "new model", by: "ada", at: ago(60) };

function queue(capability: string, stored: number, waiting: number, delivered: number): Queue {
  const empty = { stored: 0, waiting: 0, delivered: 0, deliveredSeq: 0 };
  return {
    ...{ capability, stored, waiting },
    lanes: [
      { lane: "retry", ...empty },
      { lane: "high", ...empty },
      { lane: "normal", stored, waiting, delivered, deliveredSeq: 0 },
      { lane: "low", ...empty },
    ],
  };
}

function look(parts: Partial<Look> = {}): Look {
  return {
    ...{ atMs: 2_000, queues: new Map([["upper", queue("upper", 7, 5, 30)]]), running: new Map() },
    ...{ delayed: 0, submitted: 100, finished: 90, died: 4, dead: 2 },
    ...parts,
  };
}

const BEFORE = look({
  ...{ atMs: 0, queues: new Map([["upper", queue("upper", 3, 1, 10)]]) },
  ...{ submitted: 80, finished: 50, died: 4 },
});
const NODES = [node("n1", "ACTIVE", "ready"), node("n2", "FAILED", "gone")];

function picture(parts: Partial<Picture> = {}): Picture {
  const looks = { before: BEFORE, now: look() };
  return {
    nowMs: NOW,
    fresh: { url: "127.0.0.1:4222", linked: true, lostForMs: 0, ageMs: 400 },
    leader: LEASE,
    nodes: nodeRows(NODES, () => NODE_LEASE, NO_SETTINGS),
    capabilities: capabilityRows(NODES, NO_SETTINGS, looks, new Map([["upper", NOW - 9_000]])),
    rates: ratesOf(BEFORE, look()),
    ...{ delayed: 3, dead: 2, paused: [], events: [], notes: [] },
    tasks: [FAILED_TASK],
    ...parts,
  };
}

const texts = (lines: readonly { readonly text: string }[]): string =>
  lines.map(({ text }) => text).join("\n");

describe("two looks", () => {
  test("tell what a second of the mesh looks like", () => {
    expect(ratesOf(BEFORE, look())).toEqual({ submitted: 10, finished: 20, died: 0 });
    expect(ratesOf(undefined, look())).toBeUndefined();
    expect(ratesOf(look(), look())).toBeUndefined();
    // A stream that was made anew.
    expect(ratesOf(look(), look({ atMs: 3_000, submitted: 0 }))?.submitted).toBe(0);
  });

  test("tell a capability's queue, and its rate unless a new leader counts anew", () => {
    const rows = capabilityRows(NODES, NO_SETTINGS, { before: BEFORE, now: look() }, new Map());
    expect(rows).toEqual([
      expect.objectContaining({
        capability: "upper",
        nodes: 1,
        slots: 2,
        taken: 2,
        waiting: 5,
        perSecond: 10,
      }),
    ]);
    const anew = look({ atMs: 4_000, queues: new Map([["upper", queue("upper", 7, 5, 2)]]) });
    const later = capabilityRows(NODES, NO_SETTINGS, { before: look(), now: anew }, new Map());
    expect(later[0]?.perSecond).toBeUndefined();
  });

  test("do not take what a paused capability has in hand for running", () => {
    const paused = new Map([["upper", { paused: true, ...BY }]]);
    const now = look({ running: new Map([["upper", 0]]) });
    const rows = capabilityRows(
      NODES,
      { ...NO_SETTINGS, paused },
      { before: BEFORE, now },
      new Map(),
    );
    expect(rows[0]).toMatchObject({ taken: 0, waiting: 7, paused: { reason: "new model" } });
  });
});

describe("what is drawn", () => {
  test("says who leads, and how old it is when it is", () => {
    const first = (parts: Partial<Picture>) => headLines(picture(parts), START, "12:03:00 UTC")[0];
    expect(first({})).toEqual({
      text: "swarmctl top  live  12:03:00 UTC  coordinator-1 leads, epoch 3  127.0.0.1:4222",
      colour: "green",
    });
    const fresh = { url: "u", linked: true, lostForMs: 0, ageMs: 12_000 };
    expect(first({ fresh })).toMatchObject({
      text: expect.stringContaining("STALE: what is shown is 12s old"),
      colour: "red",
    });
    expect(first({ fresh: { ...fresh, linked: false, lostForMs: 3_000 } })?.text).toContain(
      "DISCONNECTED for 3s, what is shown is 12s old",
    );
    expect(first({ leader: undefined })).toMatchObject({
      text: expect.stringContaining("no leader"),
      colour: "red",
    });
  });

  test("sums up the mesh", () => {
    const { head, lines } = viewLines(picture({ paused: ["crop"] }), "overview");
    expect(texts(head)).toMatch(
      /^nodes {3}1 ACTIVE, 1 FAILED\nslots {3}0 of 2 in use\nrates {3}10\/s submitted, 20\/s done, 0\/s given up\nqueues {2}5 waiting, the oldest for 9s; 3 until their next try\ndead {4}2\npaused {2}crop\n\nCAPABILITY /,
    );
    expect(texts(lines)).toMatch(/^upper +1 +2 +2 +5 +0 +0 +5 +0 +9s +10\/s +-\n/);
    expect(texts(lines)).toContain("t1  upper  failed, try 1 on n1: disk full (disk_full)");
  });

  test("has a line for each node, with what it is asked about", () => {
    const { lines } = viewLines(picture(), "nodes");
    expect(lines).toEqual([
      expect.objectContaining({ about: { kind: "node", id: "n1" } }),
      expect.objectContaining({ about: { kind: "node", id: "n2" }, colour: "red" }),
    ]);
    expect(texts(lines)).toMatch(
      /^n1 +ACTIVE +0\/2 +1ms +0ms +1m +upper +box +ready\nn2 +FAILED +-\/2 /,
    );
  });

  test("leaves out what the filter does not let through", () => {
    const { head, lines } = bodyLines(picture(), { ...START, view: "nodes", filter: "N2" });
    expect(head).toHaveLength(1);
    expect(lines.map(({ about }) => about?.id)).toEqual(["n2"]);
  });

  test.each([
    [0, 3, 0],
    [2, 3, 0],
    [3, 3, 1],
    [9, 3, 7],
    [0, 20, 0],
  ])("keeps line %d of ten in sight in %d rows: from %d", (chosen, height, from) => {
    expect(windowOf([...Array(10).keys()], chosen, height).from).toBe(from);
  });
});

describe("keys", () => {
  const pressed = (ui: Ui, ...keys: readonly (string | Key)[]): Ui =>
    keys.reduce<Ui>(
      (now, key) => press(now, typeof key === "string" ? { input: key } : key, 5).ui,
      ui,
    );
  const named = (name: NonNullable<Key["name"]>): Key => ({ input: "", name });

  test("choose views and lines", () => {
    expect(pressed(START, "3").view).toBe("capabilities");
    expect(pressed(START, named("right"), named("tab")).view).toBe("capabilities");
    expect(pressed(START, named("left")).view).toBe("events");
    expect(pressed(START, named("down"), named("down"), named("up")).line).toBe(1);
    expect(pressed(START, named("pageDown")).line).toBe(4);
    expect(pressed(START, named("down"), "2").line).toBe(0);
    expect(pressed(START, "9", "x")).toEqual(START);
  });

  test("type a filter, keep it, take it away", () => {
    const typing = pressed(START, "/", "q", "2", "x", named("backspace"));
    expect(typing).toMatchObject({ typing: true, filter: "q2", view: "overview" });
    expect(pressed(typing, named("return"))).toMatchObject({ typing: false, filter: "q2" });
    expect(pressed(typing, named("return"), named("escape")).filter).toBe("");
    expect(pressed(typing, named("escape"))).toMatchObject({ typing: false, filter: "" });
  });

  test("ask why, show help, quit", () => {
    expect(press(START, named("return"), 5).wish).toBe("explain");
    const detail = { title: "why node n1", lines: [] };
    expect(pressed({ ...START, detail }, named("escape")).detail).toBeUndefined();
    expect(pressed(START, "?").help).toBe(true);
    expect(pressed(START, "?", "?").help).toBe(false);
    expect(press(START, { input: "q" }, 5).wish).toBe("quit");
  });
});
