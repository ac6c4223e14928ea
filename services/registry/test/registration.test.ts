import { NODE_TRANSITIONS, NODES_MAX, type NodeRecord, NodeState } from "@swarm-mesh/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decideDeregistration,
  decideRegistration,
  type Evidence,
  isFound,
  joiningRecord,
  lifeOf,
  type Ping,
  planSweep,
  recordIn,
  type Stored,
} from "../src/registration.ts";

const AT = "2026-01-01T00:00:00.000Z";
const LIFE = 7;
const LIVING: readonly NodeState[] = ["JOINING", "ACTIVE", "SYNCING", "DEGRADED", "LEAVING"];

describe("deciding who may have an id", () => {
  test.each<[string, Stored]>([
    ["an id that was never used", { revision: 0, record: undefined }],
    ["an archived one", { revision: 12, record: undefined }],
    ["one whose node left", storedIn("LEFT")],
    ["one whose node failed", storedIn("FAILED")],
  ])("gives away %s", (_, stored) => {
    expect(decideRegistration(stored, evidence({}))).toEqual({ kind: "join" });
  });

  test.each(LIVING)("asks the node first when the record is %s", (state) => {
    expect(decideRegistration(storedIn(state), evidence({}))).toEqual({ kind: "ping" });
  });

  const nobody: Ping = { kind: "nobody" };
  const silent: Ping = { kind: "silent" };
  const itself: Ping = { kind: "answered", incarnation: LIFE };
  const another: Ping = { kind: "answered", incarnation: 3 };
  const refused = (retryable: boolean) => ({
    kind: "refuse",
    error: { code: "id_in_use", retryable },
  });
  const ended = { kind: "end-predecessor", incarnation: LIFE };

  test.each<[NodeState, Ping, Partial<Evidence>, object]>([
    ["ACTIVE", itself, {}, refused(false)],
    ["ACTIVE", itself, { leaseOf: undefined }, refused(false)],
    ["ACTIVE", nobody, {}, ended],
    ["ACTIVE", nobody, { leaseOf: LIFE }, ended],
    ["ACTIVE", silent, { leaseOf: LIFE }, refused(true)],
    ["ACTIVE", silent, { leaseOf: 3 }, ended],
    ["ACTIVE", silent, {}, ended],
    // The asker itself may listen already, without a life or with the one it gave up.
    ["ACTIVE", another, { leaseOf: LIFE }, refused(true)],
    ["ACTIVE", another, {}, ended],
    ["LEAVING", nobody, {}, ended],
    ["JOINING", nobody, { ageMs: 0 }, refused(true)],
    ["JOINING", nobody, { ageMs: 4_999 }, refused(true)],
    ["JOINING", nobody, { ageMs: 5_000 }, ended],
    // It may be there and slow: another life in its place would be two at once.
    ["JOINING", silent, { ageMs: 4_999 }, refused(true)],
    ["JOINING", silent, { ageMs: 5_000 }, ended],
    ["JOINING", itself, { ageMs: 60_000 }, refused(false)],
    ["JOINING", silent, { leaseOf: LIFE }, refused(true)],
  ])("a record %s and a ping %o with %o", (state, ping, more, expected) => {
    const decision = decideRegistration(storedIn(state), evidence({ ping, ...more }));
    expect(decision).toMatchObject(expected);
  });

  test("refuses the node that is one too many, but not one that comes back", () => {
    const full = { livingCount: NODES_MAX };
    expect(decideRegistration({ revision: 0, record: undefined }, evidence(full))).toMatchObject({
      kind: "refuse",
      error: { code: "unavailable" },
    });
    const almost = { livingCount: NODES_MAX - 1 };
    expect(decideRegistration(storedIn("FAILED"), evidence(almost)).kind).toBe("join");
  });

  test("never gives away the id of a life that answers", () => {
    fc.assert(
      fc.property(anyStored(LIVING), fc.nat(), fc.option(fc.nat()), (stored, ageMs, leaseOf) => {
        const incarnation = lifeOf(stored.record, stored.revision);
        const decision = decideRegistration(
          stored,
          evidence({
            ping: { kind: "answered", incarnation },
            ageMs,
            leaseOf: leaseOf ?? undefined,
          }),
        );
        expect(decision.kind).toBe("refuse");
      }),
    );
  });
});

describe("deciding what a leave-taking does", () => {
  const request = { incarnation: LIFE, phase: "left", reason: "" } as const;

  test.each<[NodeState, "leaving" | "left", object]>([
    ["ACTIVE", "leaving", { kind: "write", to: "LEAVING" }],
    ["ACTIVE", "left", { kind: "write", to: "LEAVING" }],
    ["SYNCING", "left", { kind: "write", to: "LEAVING" }],
    ["DEGRADED", "left", { kind: "write", to: "LEAVING" }],
    ["JOINING", "left", { kind: "write", to: "LEAVING" }],
    ["LEAVING", "leaving", { kind: "answer" }],
    ["LEAVING", "left", { kind: "write", to: "LEFT" }],
    ["LEFT", "leaving", { kind: "answer" }],
    ["LEFT", "left", { kind: "answer" }],
    ["FAILED", "left", { kind: "refuse", error: { code: "stale" } }],
  ])("a node %s that says it is %s", (state, phase, expected) => {
    expect(decideDeregistration(storedIn(state), { ...request, phase })).toMatchObject(expected);
  });

  test("is refused to another life and to nobody", () => {
    expect(
      decideDeregistration(storedIn("ACTIVE"), { ...request, incarnation: LIFE - 1 }),
    ).toMatchObject({ error: { code: "stale" } });
    expect(decideDeregistration({ revision: 0, record: undefined }, request)).toMatchObject({
      error: { code: "not_found" },
    });
  });

  test("takes only arrows that the protocol draws, and ends", () => {
    fc.assert(
      fc.property(anyStored(NodeState.options), fc.constantFrom("leaving", "left"), (at, phase) => {
        let stored = at;
        const incarnation = lifeOf(stored.record, stored.revision);
        for (let step = 0; step < 3; step++) {
          const decision = decideDeregistration(stored, {
            incarnation: Math.max(1, incarnation),
            phase,
            reason: "",
          });
          if (decision.kind !== "write") return;
          expect(NODE_TRANSITIONS[stored.record.state]).toContain(decision.to);
          const record = recordIn(stored, decision.to, "", AT);
          expect(record.incarnation).toBe(incarnation);
          stored = { revision: stored.revision + 1, record };
        }
        expect.unreachable();
      }),
    );
  });
});

describe("sweeping the records", () => {
  const limits = { readyWithinMs: 30_000, archiveAfterMs: 1_000_000, commandsMax: 10 };
  const swept = (state: NodeState, more: object) => ({
    ...storedIn(state),
    leaseOf: undefined,
    knownForMs: 0,
    ageMs: 0,
    ...more,
  });

  test.each<[NodeState, object, string | undefined]>([
    ["JOINING", { leaseOf: LIFE }, "activate"],
    ["JOINING", { leaseOf: LIFE - 1 }, undefined],
    ["JOINING", { knownForMs: 30_000 }, undefined],
    ["JOINING", { knownForMs: 30_001 }, "give-up"],
    ["JOINING", { knownForMs: 30_001, leaseOf: LIFE }, "activate"],
    ["ACTIVE", { leaseOf: LIFE, ageMs: 1_000_001 }, undefined],
    ["LEFT", { ageMs: 1_000_000 }, undefined],
    ["LEFT", { ageMs: 1_000_001 }, "archive"],
    ["FAILED", { ageMs: 1_000_001 }, "archive"],
  ])("a record %s with %o", (state, more, expected) => {
    expect(planSweep([swept(state, more)], limits).map((command) => command.kind)).toEqual(
      expected === undefined ? [] : [expected],
    );
  });

  test("does no more at once than it may", () => {
    const many = Array.from({ length: 20 }, () => swept("LEFT", { ageMs: 2_000_000 }));
    expect(planSweep(many, limits)).toHaveLength(10);
  });
});

test("finds active nodes by capability and labels", () => {
  const record = { ...storedIn("ACTIVE").record, labels: { zone: "eu", gpu: "a100" } };
  expect(isFound(record, {})).toBe(true);
  expect(isFound(record, { capability: "echo", labels: { zone: "eu" } })).toBe(true);
  expect(isFound(record, { capability: "other" })).toBe(false);
  expect(isFound(record, { labels: { zone: "us" } })).toBe(false);
  expect(isFound(record, { labels: { toString: "eu" } })).toBe(false);
  expect(isFound({ ...record, state: "DEGRADED" }, {})).toBe(false);
});

function evidence(more: Partial<Evidence>): Evidence {
  return {
    ping: undefined,
    leaseOf: undefined,
    ageMs: 0,
    livingCount: 3,
    joinGraceMs: 5_000,
    ...more,
  };
}

/** A record of life {@link LIFE}: while it joins, the life's number is the revision. */
function storedIn(state: NodeState): { revision: number; record: NodeRecord } {
  const agents = [{ name: "a", capabilities: ["echo"], slots: 2 }];
  const registration = {
    host: "h",
    port: 0,
    role: "worker",
    agents,
    labels: {},
    cpu: 1,
    memoryBytes: 1,
    version: "",
    costPerHour: 0,
    batches: false,
  } as const;
  const joining = joiningRecord("n1", registration, 3, AT);
  if (state === "JOINING") return { revision: LIFE, record: joining };
  return { revision: 9, record: recordIn({ record: joining, revision: LIFE }, state, "", AT) };
}

function anyStored(states: readonly NodeState[]) {
  return fc.constantFrom(...states).map(storedIn);
}
