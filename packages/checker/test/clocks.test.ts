/** Clocks that a fault put wrong: what a leader wrote meanwhile is allowed that much, and no other. */
import { expect, test } from "vitest";
import type { HistoryLine } from "../src/mod.ts";
import { iso, line, record, violationsOf } from "./lines.ts";

const LEADER = "coordinator-1";
const leads = line(0, "leader-lease", {
  service: "coordinator",
  revision: 5,
  holder: { instance: LEADER, epoch: 5 },
});
/** A clock is wrong from 40 to 200 ms after the beginning. */
const shift = (target: string, shiftMs: number) => [
  line(40, "fault", { fault: "clock", target, shiftMs }),
  line(200, "healed", { fault: "clock", target }),
];
/** Placed when the clock was right, and finished, as the record says, 50 s before. */
const early = (ms: number) => [
  record(10, 1),
  record(ms, 2, { status: "succeeded", finishedAt: iso(-50_000) }),
];
/** Placed when the clock was put forward, and finished when it was right. */
const late = [
  record(50, 1, { startedAt: iso(50_000) }),
  record(9_000, 2, { status: "succeeded", startedAt: iso(50_000), finishedAt: iso(9_000) }),
];

const rulesOf = (lines: readonly HistoryLine[]): string[] =>
  violationsOf(lines).map(({ rule }) => rule);

test.each([
  ["the leader's, put back", [leads, ...shift(LEADER, -60_000), ...early(100)]],
  ["the leader's, put forward", [leads, ...shift(LEADER, 60_000), ...late]],
  ["the leader's, right again since a moment", [leads, ...shift(LEADER, -60_000), ...early(3_000)]],
  ["anyone's, when nobody followed the leases", [...shift("c7", -60_000), ...early(100)]],
])("%s: so it may be", (_, lines) => {
  expect(rulesOf(lines)).toEqual([]);
});

test.each([
  ["nobody's", [leads, ...early(100)]],
  ["the leader's, put back by less", [leads, ...shift(LEADER, -3_000), ...early(100)]],
  ["the leader's, put forward by less", [leads, ...shift(LEADER, 20_000), ...late]],
  ["the leader's, right again for long", [leads, ...shift(LEADER, -60_000), ...early(30_000)]],
  ["another's", [leads, ...shift("coordinator-2", -60_000), ...early(100)]],
])("%s: so it may not", (_, lines) => {
  expect(rulesOf(lines)).toEqual(["times-in-order"]);
});
