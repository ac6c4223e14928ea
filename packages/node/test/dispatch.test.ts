import { Header, TIMEOUT_DEFAULT_MS } from "@swarm-mesh/protocol";
import { expect, test } from "vitest";
import { type DispatchView, decideDispatch, parseDispatch } from "../src/dispatch.ts";

const GOOD: Readonly<Record<string, string>> = {
  [Header.taskId]: "t1",
  [Header.attempt]: "2",
  [Header.epoch]: "7",
  [Header.incarnation]: "10",
  [Header.capability]: "echo",
};
const BODY = new Uint8Array([1]);
const FREE: DispatchView = {
  incarnation: 10,
  newestEpoch: 7,
  runningAttempt: undefined,
  finishedAttempt: undefined,
  draining: false,
  adrift: false,
  outboxFull: false,
  pick: "agent",
};

test("reads a dispatch, its time-out defaulted", () => {
  expect(read({})).toEqual({
    taskId: "t1",
    attempt: 2,
    epoch: 7,
    incarnation: 10,
    capability: "echo",
    timeoutMs: TIMEOUT_DEFAULT_MS,
    checkpoint: undefined,
    trace: undefined,
    payload: BODY,
    signature: undefined,
    requires: "",
  });
  expect(read({ [Header.timeout]: "1s", [Header.checkpoint]: "YQ==" })).toMatchObject({
    timeoutMs: 1_000,
    checkpoint: new Uint8Array([97]),
  });
});

test.for([
  [Header.taskId, ""],
  [Header.taskId, "a.b"],
  [Header.attempt, ""],
  [Header.attempt, "0"],
  [Header.attempt, "-1"],
  [Header.epoch, "x"],
  [Header.epoch, "9999999999999999"],
  [Header.incarnation, "1.5"],
  [Header.capability, "*"],
  [Header.timeout, "soon"],
] as const)("names the header %s when it is %j", ([header, value]) => {
  expect(read({ [header]: value })).toEqual({ problem: expect.stringContaining(header) });
});

test("headers that are missing altogether are a problem", () => {
  expect(parseDispatch(undefined, BODY)).toHaveProperty("problem");
});

test.for([
  ["a free node", {}, "start"],
  ["another life", { incarnation: 11 }, "stale"],
  ["an older term", { newestEpoch: 8 }, "stale"],
  ["a newer term", { newestEpoch: 6 }, "start"],
  ["a try that runs", { runningAttempt: 2 }, "running"],
  ["a try that runs on a node adrift", { runningAttempt: 2, adrift: true }, "running"],
  ["a try that runs on a draining node", { runningAttempt: 2, draining: true }, "running"],
  ["a try that ended", { finishedAttempt: 2 }, "finished"],
  ["a try after one that ended", { finishedAttempt: 1 }, "start"],
  ["a try before one that runs", { runningAttempt: 3 }, "stale"],
  ["a try before one that ended", { finishedAttempt: 3 }, "stale"],
  ["a draining node", { draining: true }, "busy"],
  ["a node whose store does not answer", { adrift: true }, "busy"],
  ["a capability unknown", { pick: "unknown" }, "unknown_capability"],
  ["no free slot", { pick: "busy" }, "busy"],
  ["an outbox that is full", { outboxFull: true }, "busy"],
] as const)("%s", ([, change, expected]) => {
  const dispatch = read({});
  if ("problem" in dispatch) throw new Error(dispatch.problem);
  const decision = decideDispatch(dispatch, { ...FREE, ...change });
  expect(decision.kind === "refuse" ? decision.code : decision.kind).toBe(expected);
});

test("an older try that runs is ended, whether the newer one can start or not", () => {
  const dispatch = read({});
  if ("problem" in dispatch) throw new Error(dispatch.problem);
  for (const pick of ["agent", "busy"] as const) {
    const decision = decideDispatch(dispatch, { ...FREE, runningAttempt: 1, pick });
    expect(decision).toMatchObject({ supersede: true });
  }
});

function read(changes: Readonly<Record<string, string>>) {
  const all = { ...GOOD, ...changes };
  return parseDispatch({ get: (name) => all[name] ?? "" }, BODY);
}
