import { describe, expect, test } from "vitest";
import { Fleet } from "../src/fleet.ts";
import { Snapshot } from "../src/snapshot.ts";

const record = (state: "ACTIVE" | "DEGRADED" | "FAILED", incarnation = 1) => ({
  id: "n1",
  incarnation,
  state,
  reason: "",
  host: "h",
  port: 0,
  role: "worker" as const,
  agents: [
    { name: "a", capabilities: ["echo", "add"], slots: 2 },
    { name: "b", capabilities: ["add"], slots: 3 },
  ],
  capabilities: ["echo", "add"],
  slots: 5,
  labels: {},
  cpu: 1,
  memoryBytes: 1,
  version: "",
  costPerHour: 0,
  batches: false,
  joinedAt: "",
  updatedAt: "",
});
const lease = (incarnation = 1) => ({ incarnation, running: 0, slots: 5, rttMs: 1, lagMs: 0 });

describe("Fleet", () => {
  test("counts the free slots of each capability", () => {
    const freed: string[][] = [];
    const fleet = new Fleet((capabilities) => freed.push([...capabilities]));
    fleet.hearRecord("n1", record("ACTIVE"), undefined);
    expect(fleet.free("echo")).toBe(0);
    fleet.hearLease("n1", lease());
    expect([fleet.free("echo"), fleet.free("add")]).toEqual([2, 5]);
    const [seat] = fleet.candidates("echo");
    const slot = seat && fleet.take(seat);
    expect([fleet.free("echo"), fleet.free("add")]).toEqual([1, 4]);
    fleet.hearRecord("n1", record("DEGRADED"), lease());
    expect([fleet.free("echo"), fleet.free("add")]).toEqual([0, 0]);
    fleet.hearRecord("n1", record("ACTIVE"), lease());
    expect([fleet.free("echo"), fleet.free("add")]).toEqual([1, 4]);
    if (slot !== undefined) fleet.release(slot);
    if (slot !== undefined) fleet.release(slot);
    expect([fleet.free("echo"), fleet.free("add")]).toEqual([2, 5]);
    expect(freed.at(-1)).toEqual(["echo", "add"]);
  });

  test("forgets what an earlier life held", () => {
    const fleet = new Fleet(() => undefined);
    fleet.hearRecord("n1", record("ACTIVE"), lease());
    const slot = fleet.occupy("n1", 1, "add");
    fleet.hearRecord("n1", record("ACTIVE", 2), lease(2));
    expect(fleet.free("add")).toBe(5);
    if (slot !== undefined) fleet.release(slot);
    expect(fleet.free("add")).toBe(5);
    expect(fleet.isGone("n1", 1)).toBe(true);
    expect(fleet.isGone("n1", 2)).toBe(false);
  });

  test("counts what a node holds that is given nothing now", () => {
    const fleet = new Fleet(() => undefined);
    fleet.hearRecord("n1", record("DEGRADED"), lease());
    expect(fleet.occupy("n1", 2, "add")).toBeUndefined();
    expect(fleet.occupy("n1", 1, "add")).toBeDefined();
    expect(fleet.free("add")).toBe(0);
    fleet.hearRecord("n1", record("ACTIVE"), lease());
    expect(fleet.free("add")).toBe(4);
  });

  test("begins a term with every slot free, whatever an earlier one gave out", () => {
    const fleet = new Fleet(() => undefined);
    fleet.hearRecord("n1", record("ACTIVE"), lease());
    const old = fleet.occupy("n1", 1, "add");
    fleet.shun("n1", 100);
    fleet.reset();
    expect(fleet.free("add")).toBe(5);
    // The old term lets go late.
    if (old !== undefined) fleet.release(old);
    expect(fleet.free("add")).toBe(5);
    expect(fleet.occupy("n1", 1, "add")).toBeDefined();
    expect(fleet.free("add")).toBe(4);
  });

  test("gives nothing to a node that is shunned, until it is forgiven", () => {
    const fleet = new Fleet(() => undefined);
    fleet.hearRecord("n1", record("ACTIVE"), lease());
    fleet.shun("n1", 100);
    expect(fleet.free("add")).toBe(0);
    fleet.forgive(99);
    expect(fleet.free("add")).toBe(0);
    fleet.forgive(100);
    expect(fleet.free("add")).toBe(5);
  });
});

describe("Fleet, as operators have set it", () => {
  test("has no free slot for a paused capability, and tells when it is resumed", () => {
    const freed: string[][] = [];
    const fleet = new Fleet((capabilities) => freed.push([...capabilities]));
    fleet.pause("echo", true);
    fleet.hearRecord("n1", record("ACTIVE"), lease());
    expect([fleet.free("echo"), fleet.free("add")]).toEqual([0, 5]);
    const [seat] = fleet.candidates("add");
    if (seat !== undefined) fleet.take(seat);
    fleet.reset();
    expect([fleet.free("echo"), fleet.free("add")]).toEqual([0, 5]);
    freed.length = 0;
    fleet.pause("echo", false);
    expect(fleet.free("echo")).toBe(2);
    expect(freed).toEqual([["echo"]]);
    fleet.pause("echo", false);
    expect(freed).toEqual([["echo"]]);
  });

  test("gives a cordoned node nothing new, in whatever life, and counts what it keeps", () => {
    const freed: string[][] = [];
    const fleet = new Fleet((capabilities) => freed.push([...capabilities]));
    fleet.cordon("n1", true);
    fleet.hearRecord("n1", record("ACTIVE"), lease());
    expect([fleet.free("add"), fleet.candidates("add")]).toEqual([0, []]);
    expect(fleet.occupy("n1", 1, "add")).toBeDefined();
    fleet.cordon("n1", false);
    expect(fleet.free("add")).toBe(4);
    expect(freed).toEqual([["echo", "add"]]);
    fleet.cordon("n1", true);
    expect(fleet.isGone("n1", 1)).toBe(false);
    fleet.hearRecord("n1", record("ACTIVE", 2), lease(2));
    fleet.reset();
    expect(fleet.free("add")).toBe(0);
    fleet.cordon("n1", false);
    expect(fleet.free("add")).toBe(5);
  });
});

describe("Snapshot", () => {
  const leader = { instance: "c1", epoch: 3 };

  test("is `same` to who has it, whatever comes and goes but records", () => {
    const fleet = new Fleet(() => undefined);
    const snapshot = new Snapshot(leader, fleet);
    fleet.hearRecord("n1", record("ACTIVE"), undefined);
    const first = snapshot.answer("");
    expect(first).toMatchObject({ same: false, state: { leader, nodes: [{ id: "n1" }] } });
    fleet.hearLease("n1", lease());
    expect(snapshot.answer(first.hash)).toEqual({ same: true, hash: first.hash });
    fleet.hearRecord("n1", record("FAILED"), undefined);
    const second = snapshot.answer(first.hash);
    expect(second).toMatchObject({ same: false, state: { nodes: [{ state: "FAILED" }] } });
    fleet.hearRecord("n1", undefined, undefined);
    expect(snapshot.answer(second.hash)).toMatchObject({ state: { nodes: [] } });
  });
});
