/** Why: each cause from the facts that make it, without a mesh. */
import { describe, expect, test } from "vitest";
import { type Answer, CAUSES, type NodeFact } from "../src/facts.ts";
import { whyCapability } from "../src/why-capability.ts";
import { whyNode } from "../src/why-node.ts";
import { storeAway } from "../src/why-store.ts";
import {
  ago,
  askNode,
  failedTry,
  LANES,
  LEASE,
  mesh,
  move,
  NO_LUCK,
  NOW,
  node,
  record,
  runs,
  SEARCHED,
  task,
  waits,
} from "./why-facts.ts";
import { HELD_ROWS } from "./why-held.ts";

const busy = [
  record({ id: "a" }),
  record({ id: "b" }),
  record({ id: "c", node: "n2" }),
  record({ id: "d", node: "n2" }),
];
const silent = (id: string): NodeFact => node(id, { answers: false });

/** Cause, what is known, what is said, and what must be among the evidence. */
const ROWS: readonly (readonly [Answer["cause"], () => Answer, string, string?])[] = [
  ...HELD_ROWS,
  [
    "nobody_offers",
    () =>
      waits({
        nodes: [
          node("n3", { capabilities: ["echo"] }),
          node("n4", { state: "FAILED", reason: "lease expired" }),
        ],
      }),
    "t1 waits: no node offers upper.",
    "n4 offered it, and is FAILED since 12:02:00 UTC (1m): lease expired",
  ],
  [
    "nobody_offers",
    () => waits({ nodes: [] }),
    "t1 waits: no node offers upper.",
    "no node is there that offers anything",
  ],
  [
    "slots_busy",
    () => waits({ running: busy }),
    "t1 waits: all 4 slots for upper on n1 and n2 are busy (the oldest waits 40s).",
    "n2: 2 of 2 slots busy",
  ],
  [
    "slots_busy",
    () =>
      waits({
        running: undefined,
        nodes: [
          {
            ...node("n1", { slots: 1 }),
            lease: { incarnation: 5, running: 1, slots: 1, rttMs: 1, lagMs: 0 },
          },
        ],
      }),
    "t1 waits: the only slot for upper on n1 is busy (the oldest waits 40s).",
  ],
  [
    "draining",
    () => waits({ nodes: [node("n3", { state: "LEAVING", reason: "swarmctl node drain" })] }),
    "t1 waits: n3, the only node that offers upper, is draining.",
    "n3 is LEAVING since 12:02:00 UTC (1m): swarmctl node drain",
  ],
  [
    "degraded",
    () =>
      waits({
        nodes: ["n1", "n2"].map((id) =>
          node(id, { state: "DEGRADED", reason: "event loop 3000 ms late" }),
        ),
      }),
    "t1 waits: n1 and n2, all that offer upper, are degraded.",
    "n2 is DEGRADED since 12:02:00 UTC (1m): event loop 3000 ms late",
  ],
  [
    "draining",
    () =>
      waits(
        { nodes: [node("n1"), node("n3", { state: "LEAVING", labels: { gpu: "a100" } })] },
        { gpu: "a100" },
      ),
    "t1 waits: n3, the only node that offers upper and has gpu=a100, is draining.",
  ],
  [
    "labels_nowhere",
    () =>
      waits(
        { nodes: [node("n1"), node("n3", { state: "FAILED", labels: { gpu: "a100" } })] },
        { gpu: "a100" },
      ),
    "t1 waits: it requires gpu=a100, and no node that offers the capability (n1) has gpu=a100.",
    "n3 has the labels, but is FAILED",
  ],
  [
    "failed",
    () =>
      runs(
        {},
        {
          status: "failed",
          maxAttempts: 1,
          finishedAt: ago(5),
          error: NO_LUCK,
          tries: [failedTry],
        },
      ),
    "t1 failed at 12:02:55 UTC (5s ago): its only try ended with no luck (handler_failed).",
  ],
  [
    "joining",
    () => waits({ nodes: [node("n1", { state: "JOINING", leased: false })] }),
    "t1 waits: n1, the only node that offers upper, is still joining.",
  ],
  [
    "none_ready",
    () => waits({ nodes: [node("n1", { state: "LEAVING" }), node("n2", { state: "DEGRADED" })] }),
    "t1 waits: n1 and n2, all that offer upper, are not ready for work.",
  ],
  [
    "labels_nowhere",
    () =>
      waits(
        {
          nodes: [
            node("n1", { labels: { zone: "eu" } }),
            node("n2", { capabilities: ["x"], labels: { zone: "eu", gpu: "a100" } }),
          ],
        },
        { zone: "eu", gpu: "a100" },
      ),
    "t1 waits: it requires zone=eu,gpu=a100, and no node that offers the capability (n1) has gpu=a100.",
    "n2 has the labels, but does not offer it",
  ],
  [
    "labels_nowhere",
    () =>
      waits(
        { nodes: [node("n1", { labels: { a: "1" } }), node("n2", { labels: { b: "2" } })] },
        { a: "1", b: "2" },
      ),
    "t1 waits: it requires a=1,b=2, and no node that offers the capability (n1 and n2) has a=1,b=2 together.",
  ],
  [
    "shunned",
    () =>
      waits({
        nodes: [node("n1")],
        refusals: [{ node: "n1", task: "t7", atMs: NOW - 400, reason: "refused" }],
      }),
    "t1 waits: n1 did not take a task a moment ago and is left alone for a while.",
    "n1 refused t7 400ms ago",
  ],
  [
    "no_leader",
    () => waits({ leader: undefined, services: new Set() }),
    "t1 waits: no coordinator leads, so nothing is placed.",
    "nobody holds the coordinators' lease; no coordinator answers discovery",
  ],
  [
    "no_leader",
    () => waits({ leader: { lease: LEASE, answers: false }, nodes: [] }),
    "t1 waits: no coordinator leads, so nothing is placed.",
    "besides: no node offers upper",
  ],
  [
    "brake",
    () => waits({ nodes: ["n1", "n2", "n3"].map(silent) }),
    "t1 waits: n1, n2 and n3, all that offer upper, do not answer; the health-monitor's brake is on, so leases decide.",
  ],
  [
    "placing",
    () => waits({ running: busy.slice(1) }),
    "t1 waits, and nothing is seen that holds it: 1 of 4 slots for upper is free on n1 and n2; it should start in a moment.",
  ],
  [
    "placing",
    () => waits({ leader: { lease: LEASE, answers: undefined } }),
    "t1 waits, and nothing is seen that holds it: 4 of 4 slots for upper are free on n1 and n2; it should start in a moment.",
  ],
  [
    "never_submitted",
    () => task(),
    "t1 was never submitted, or it ended more than a day ago.",
    "none of the 12 messages in the queue is it",
  ],
  [
    "not_found_in_queue",
    () => task({ search: { ...SEARCHED, complete: false } }),
    "t1 has no record: it waits further back in the queue, was never submitted, or ended more than a day ago.",
  ],
  [
    "not_found_in_queue",
    () => task({ search: { ...SEARCHED, permitted: false, complete: false } }),
    "t1 has no record: it waits further back in the queue, was never submitted, or ended more than a day ago.",
    "this key may not read the queue; the admin's may",
  ],
  [
    "expired",
    () => task({ letter: { seq: 4, atMs: NOW - 2 * 86_400_000 } }),
    "t1 was given up at 2026-11-19 12:03:00 UTC (2d ago); its record is gone, its dead letter is kept.",
  ],
  [
    "backoff",
    () => task({ record: record({ status: "retrying", dueAt: ago(-5), tries: [failedTry] }) }),
    "try 2 of t1 waits for its backoff until 12:03:05 UTC (in 5s), because try 1 failed on n1: no luck (handler_failed).",
  ],
  [
    "slots_busy",
    () =>
      task({
        record: record({ status: "retrying", dueAt: ago(2), tries: [failedTry] }),
        mesh: mesh({ running: busy }),
        lanes: LANES,
      }),
    "t1 waits again: all 4 slots for upper on n1 and n2 are busy (the oldest waits 40s).",
    "try 2 is due since 12:02:58 UTC (2s)",
  ],
  [
    "refused",
    () =>
      task({
        record: record({
          status: "retrying",
          dueAt: ago(1),
          migrations: [{ ...move, to: null, reason: "refused", at: ago(1) }],
        }),
        mesh: mesh({
          nodes: [node("n2")],
          refusals: [{ node: "n2", task: "t1", atMs: NOW - 1_000, reason: "refused" }],
        }),
      }),
    "t1 waits again: n2 refused it at 12:02:59 UTC (1s ago) and no other node has taken it.",
    "n2 refused t1 1s ago",
  ],
  [
    "running",
    () => runs({}, { progress: { step: 3 } }),
    "t1 runs on n1/main, try 1, since 12:02:30 UTC (30s).",
    'progress: {"step":3}',
  ],
  [
    "running",
    () => runs({ leader: undefined }),
    "t1 runs on n1/main, try 1, since 12:02:30 UTC (30s).",
    "nobody holds the coordinators' lease; a coordinator answers discovery: its outcome is kept at the node until one leads",
  ],
  [
    "moved",
    () =>
      runs(
        { nodes: [node("n1"), node("n2", { state: "FAILED", reason: "connection closed" })] },
        { attempt: 2, migrations: [move] },
      ),
    "t1 runs on n1/main, try 2, since 12:02:30 UTC (30s); it was moved there from n2, which failed.",
    "n2 is FAILED since 12:02:00 UTC (1m): connection closed",
  ],
  [
    "draining",
    () => runs({ nodes: [node("n1", { state: "LEAVING" })] }),
    "t1 runs on n1/main, try 1, since 12:02:30 UTC (30s); the node is draining, so it ends there or is handed back.",
  ],
  [
    "node_gone",
    () => runs({ nodes: [node("n1", { state: "FAILED" })], services: new Set() }),
    "t1 ran on n1/main, whose life is over; it waits to be moved.",
    "no migrator answers discovery: the coordinator moves it by itself, 30 s later",
  ],
  [
    "node_gone",
    () => runs({}, { incarnation: 4 }),
    "t1 ran on n1/main, whose life is over; it waits to be moved.",
  ],
  [
    "node_gone",
    () => runs({ nodes: [] }),
    "t1 ran on n1, whose life is over; it waits to be moved.",
    "n1 has no record",
  ],
  [
    "no_leader",
    () => runs({ nodes: [], leader: undefined }),
    "t1 ran on n1, whose life is over; no coordinator leads, so nobody moves it.",
  ],
  [
    "node_silent",
    () => runs({ nodes: [silent("n1"), node("n2")] }),
    "t1 ran on n1/main, which does not answer; the health-monitor has not judged it yet; it does within 6s or so.",
  ],
  [
    "no_monitor",
    () => runs({ nodes: [silent("n1")], services: new Set() }),
    "t1 ran on n1/main, which does not answer; no health-monitor runs, so nobody is failed.",
  ],
  [
    "brake",
    () =>
      runs({
        nodes: [silent("n1"), silent("n2"), node("n3", { state: "FAILED", since: 2 }), node("n4")],
      }),
    "t1 ran on n1/main, which does not answer; the health-monitor's brake is on, so leases decide.",
    "2 of 3 living nodes do not answer: n1 and n2, and 1 failed just now",
  ],
  [
    "succeeded",
    () => runs({}, { status: "succeeded", agent: "main", finishedAt: ago(5) }),
    "t1 succeeded at 12:02:55 UTC (5s ago) on n1/main, at try 1.",
    "its last try began 10s after the submit and took 25s",
  ],
  [
    "failed",
    () =>
      task({
        record: record({
          status: "failed",
          attempt: 2,
          maxAttempts: 2,
          error: NO_LUCK,
          finishedAt: ago(5),
          tries: [failedTry, { ...failedTry, attempt: 2 }],
        }),
        letter: { seq: 4, atMs: NOW },
      }),
    "t1 failed at 12:02:55 UTC (5s ago): all 2 tries are used up, the last with no luck (handler_failed).",
    "dead letter 4: `swarmctl dead get t1` shows it, `swarmctl dead retry t1` submits it again",
  ],
  [
    "failed",
    () =>
      runs(
        {},
        {
          status: "failed",
          finishedAt: ago(5),
          error: { code: "disk_full", message: "disk full", retryable: false },
        },
      ),
    "t1 failed at 12:02:55 UTC (5s ago), at try 1, and is not tried again: disk full (disk_full) is final.",
  ],
  [
    "failed",
    () =>
      runs(
        {},
        {
          status: "failed",
          finishedAt: ago(5),
          migrations: [move],
          error: {
            code: "too_many_losses",
            message: "10 nodes were lost while they ran it",
            retryable: false,
          },
        },
      ),
    "t1 failed at 12:02:55 UTC (5s ago): 10 nodes were lost while they ran it (too_many_losses); 1 move.",
  ],
  [
    "cancelled",
    () => runs({}, { status: "cancelled", attempt: 0, node: null, finishedAt: ago(5) }),
    "t1 was cancelled at 12:02:55 UTC (5s ago), before it ran.",
  ],
  [
    "cancelled",
    () => runs({}, { status: "cancelled", finishedAt: ago(5) }),
    "t1 was cancelled at 12:02:55 UTC (5s ago), at try 1 on n1.",
  ],
  [
    "rejected",
    () =>
      runs(
        {},
        {
          status: "rejected",
          attempt: 0,
          node: null,
          finishedAt: ago(5),
          error: {
            code: "bad_header",
            message: 'Mesh-Timeout: "x" is not a duration',
            retryable: false,
          },
        },
      ),
    't1 was rejected at 12:02:55 UTC (5s ago) and never ran: Mesh-Timeout: "x" is not a duration (bad_header).',
  ],
  [
    "active",
    () => askNode([node("n1")], { running: [record()] }),
    "n1 is ACTIVE since 11:58:00 UTC (5m); 1 of 2 slots busy.",
    "1 task on it by the records: t1",
  ],
  [
    "slots_busy",
    () => askNode([node("n1")], { running: busy }),
    "n1 is ACTIVE, and all its 2 slots are busy.",
  ],
  [
    "no_lease",
    () => askNode([node("n1", { leased: false })]),
    "n1 is ACTIVE, but holds no lease of this life, so it gets nothing.",
  ],
  [
    "shunned",
    () =>
      askNode([node("n1")], {
        refusals: [{ node: "n1", task: "t7", atMs: NOW - 400, reason: "refused" }],
      }),
    "n1 is ACTIVE, but did not take a task a moment ago and is given nothing for 1500 ms (by default) after each.",
    "n1 refused t7 400ms ago",
  ],
  [
    "degraded",
    () => askNode([node("n1", { state: "DEGRADED", reason: "event loop 3000 ms late" })]),
    "n1 is DEGRADED since 12:02:00 UTC (1m) and gets nothing new, because event loop 3000 ms late.",
    "its lease is still there",
  ],
  [
    "draining",
    () => askNode([node("n1", { state: "LEAVING", reason: "drain" })], { running: busy }),
    "n1 is draining since 12:02:00 UTC (1m), with 2 tasks left: drain.",
  ],
  [
    "node_failed",
    () =>
      askNode([node("n1", { state: "FAILED", reason: "lease expired" })], {
        running: busy,
        services: new Set(),
      }),
    "n1 is FAILED since 12:02:00 UTC (1m), because lease expired.",
    "2 tasks still to be moved away from it; no migrator answers discovery: the coordinator moves them, 30 s later",
  ],
  [
    "left",
    () => askNode([node("n1", { state: "LEFT", reason: "SIGTERM" })]),
    "n1 left in order at 12:02:00 UTC (1m ago): SIGTERM.",
  ],
  [
    "joining",
    () => askNode([node("n1", { state: "JOINING" })]),
    "n1 is joining since 12:02:00 UTC (1m): it has registered, and has not taken its lease yet.",
  ],
  [
    "never_joined",
    () => askNode([node("n2")]),
    "n1 never joined: the mesh knows no node of this id.",
    "there are n2",
  ],
  [
    "forgotten",
    () =>
      whyNode({
        id: "n9",
        mesh: mesh(),
        event: { kind: "left", reason: "drain", by: "registry-1", atMs: NOW - 60_000 },
      }),
    "n9 was here once; its record is gone, as that of every node a while after its end.",
    "last event at 12:02:00 UTC (1m ago): left, drain",
  ],
  [
    "node_silent",
    () => askNode([silent("n1"), node("n2")]),
    "n1 is ACTIVE in its record and does not answer; the health-monitor has not judged it yet; it does within 6s or so.",
  ],
  [
    "free",
    () => whyCapability({ capability: "upper", mesh: mesh(), lanes: [] }),
    "upper: 4 of 4 slots for upper are free on n1 and n2; no task waits for it.",
  ],
  [
    "free",
    () => whyCapability({ capability: "upper", mesh: mesh(), lanes: LANES }),
    "upper: 4 of 4 slots for upper are free on n1 and n2; 1 task waits for it.",
    "lane normal: 1 of 3 wait, the oldest for 40s",
  ],
  [
    "nobody_offers",
    () =>
      whyCapability({
        capability: "gpu",
        mesh: mesh({ running: undefined }),
        lanes: [
          { ...LANES[0], lane: "high", stored: 2, waiting: undefined, oldestAtMs: undefined },
        ],
      }),
    "gpu: no node offers gpu; how many tasks wait for it is not known.",
    "lane high: 2 stored",
  ],
  [
    "no_leader",
    () => whyCapability({ capability: "upper", mesh: mesh({ leader: undefined }), lanes: LANES }),
    "upper is not served: no coordinator leads, so nothing is placed; 1 task waits for it.",
  ],
  [
    "store_unavailable",
    () =>
      storeAway({
        url: "h:4222",
        version: "2.15.1",
        cluster: "C",
        jetstream: true,
        problem: "no quorum",
      }),
    "Nothing moves and nothing can be read: the server's store does not answer, so its servers have no quorum, or are electing a leader.",
    "the store says: no quorum",
  ],
  [
    "store_unavailable",
    () =>
      storeAway({
        url: "h:4222",
        version: "2.15.1",
        cluster: undefined,
        jetstream: true,
        problem: "timeout",
      }),
    "Nothing moves and nothing can be read: the server's store does not answer, so it stands still or is starting.",
  ],
  [
    "store_unavailable",
    () =>
      storeAway({
        url: "h:4222",
        version: "2.15.1",
        cluster: undefined,
        jetstream: false,
        problem: "timeout",
      }),
    "Nothing is known: h:4222 has no JetStream.",
  ],
];

describe("the answer", () => {
  test.for(ROWS)("%s %#", ([cause, ask, sentence, evidence]) => {
    const answer = ask();
    expect(answer).toMatchObject({ cause, sentence });
    if (evidence !== undefined) expect(answer.evidence).toContain(evidence);
  });

  test("has a row for every cause", () => {
    const shown = new Set(ROWS.map(([cause]) => cause));
    expect(CAUSES.filter((cause) => !shown.has(cause))).toEqual([]);
  });

  test("says more than it can show as a number", () => {
    const many = Array.from({ length: 20 }, (_, index) => node(`m${index}`, { state: "LEAVING" }));
    const { sentence, evidence } = waits({ nodes: many });
    expect(evidence).toContain("… and 13 more of these");
    expect(sentence).toBe(
      "t1 waits: m0, m1, m2, m3, m4, m5, m6 and 13 more, all that offer upper, are draining.",
    );
  });
});
