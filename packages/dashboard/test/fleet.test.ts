import { NodeLease, NodeRecord } from "@swarm-mesh/protocol";
import { describe, expect, test } from "vitest";
import {
  endOfLease,
  type Heard,
  inOrder,
  leaseTtlOf,
  totalsOf,
  viewOf,
  viewsOf,
} from "../src/page/fleet.ts";

describe("a node is shown alive", () => {
  test.each([
    ["until its lease ends", "ACTIVE", { endsAt: 1_001 }, "ACTIVE", true],
    ["not a moment longer", "ACTIVE", { endsAt: 1_000 }, "SILENT", false],
    ["not by the lease of another life", "ACTIVE", { incarnation: 6 }, "SILENT", false],
    ["not when its record says that it failed", "FAILED", { endsAt: 9_000 }, "FAILED", false],
    ["not while it joins", "JOINING", { endsAt: 9_000 }, "JOINING", false],
    ["while it drains", "LEAVING", { endsAt: 9_000 }, "LEAVING", true],
  ] as const)("%s", (_title, state, lease, shown, alive) => {
    expect(viewOf(node("n1", state), heard(lease), 1_000)).toMatchObject({ shown, alive });
  });

  test("not without a lease", () => {
    expect(viewOf(node("n1", "DEGRADED"), undefined, 0)).toMatchObject({ shown: "SILENT" });
    expect(viewOf(node("n1", "LEFT"), undefined, 0)).toMatchObject({ shown: "LEFT" });
  });
});

test("a lease ends a TTL after it was heard, as its header says, or after the default", () => {
  expect(endOfLease({ now: 100, ttlHeader: "3s" })).toEqual({ ttlMs: 3_000, endsAt: 3_100 });
  expect(endOfLease({ now: 100, ttlHeader: "" })).toEqual({ ttlMs: 6_000, endsAt: 6_100 });
});

test("how long leases last is what the leases say, and without any what one server's would", () => {
  expect(leaseTtlOf([{ ttlMs: 6_000 }, { ttlMs: 12_000 }])).toBe(12_000);
  expect(leaseTtlOf([])).toBe(6_000);
});

test("ids are ordered as people do", () => {
  expect(inOrder(["n10", "n2", "a"])).toEqual(["a", "n2", "n10"]);
});

test("the fleet counts slots of the living alone", () => {
  const records = [node("n2", "ACTIVE"), node("n3", "FAILED")];
  records.push(node("n4", "LEFT"), node("n10", "ACTIVE"));
  const leases = new Map([["n2", heard({})]]);
  const views = viewsOf(records, leases, 0);
  expect(totalsOf(views)).toEqual({
    ...{ alive: 1, expected: 3, failed: 1, silent: 1, used: 3, slots: 4 },
  });
  expect(views[0]?.load).toBe(0.75);
});

function node(id: string, state: NodeRecord["state"]): NodeRecord {
  return NodeRecord.parse({
    ...{ id, state, incarnation: 7, reason: "", host: "h", port: 0, role: "worker", agents: [] },
    ...{ capabilities: [], slots: 4, labels: {}, cpu: 1, memoryBytes: 0, version: "" },
    ...{ joinedAt: "2026-01-01T00:00:00.000Z", updatedAt: "2026-01-01T00:00:00.000Z" },
  });
}

function heard(of: { readonly endsAt?: number; readonly incarnation?: number }): Heard<NodeLease> {
  const { endsAt = 5_000, incarnation = 7 } = of;
  const lease = NodeLease.parse({ incarnation, running: 3, slots: 4, rttMs: 1, lagMs: 1 });
  return { lease, revision: 1, ttlMs: 6_000, endsAt };
}
