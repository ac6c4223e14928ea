import { expect, test } from "vitest";
import { FAULTS, type Fault, LEADER, schedule, type Target } from "../src/schedule.ts";

const TARGETS: readonly Target[] = [
  { name: "nats-server", role: "server", link: "none", smallDisk: true },
  { name: LEADER, role: "leader", link: "none" },
  { name: "coordinator-1", role: "service", link: "proxy" },
  { name: "coordinator-2", role: "service", link: "proxy" },
  { name: "registry-1", role: "service", link: "proxy" },
  { name: "migrator-2", role: "service", link: "namespace" },
  { name: "n1", role: "node", link: "proxy" },
  { name: "n2", role: "node", link: "namespace" },
  { name: "n3", role: "node", link: "proxy" },
];
const HALF_HOUR_MS = 30 * 60_000;
const SEEDS = Array.from({ length: 20 }, (_, index) => index * 7_919);

const drawn = (seed: number, durationMs = HALF_HOUR_MS, only?: readonly Fault[]) =>
  schedule({ seed, durationMs, targets: TARGETS, ...(only === undefined ? {} : { only }) });

test("a schedule is the same for the same seed, and another for another", () => {
  expect(drawn(42)).toEqual(drawn(42));
  expect(drawn(42)).not.toEqual(drawn(43));
});

test("a schedule of a shorter run is the beginning of that of a longer one", () => {
  const [short, long] = [drawn(7, 5 * 60_000), drawn(7)];
  expect(short.length).toBeGreaterThan(10);
  expect(long.slice(0, short.length)).toEqual(short);
});

test("a schedule of half an hour has three hundred faults, and every kind of them", () => {
  for (const seed of SEEDS) {
    const faults = drawn(seed);
    expect(faults.length).toBeGreaterThanOrEqual(300);
    expect(new Set(faults.map(({ fault }) => fault))).toEqual(new Set(FAULTS));
  }
});

test("a schedule is over before the run is, and starts no sooner than the load", () => {
  for (const seed of SEEDS) {
    const faults = drawn(seed, 60_000);
    for (const { atMs, lengthMs } of faults) {
      expect(atMs).toBeGreaterThanOrEqual(5_000);
      expect(atMs + lengthMs).toBeLessThan(60_000);
    }
  }
});

test("a schedule leaves the mesh seconds of health between clusters", () => {
  for (const seed of SEEDS) {
    for (const gap of gapsOf(drawn(seed))) expect(gap).toBeGreaterThanOrEqual(2_500);
  }
});

test("a schedule strikes a target once at a time, and the leader never beside a coordinator", () => {
  for (const seed of SEEDS) {
    const faults = drawn(seed);
    for (const [index, one] of faults.entries()) {
      const meanwhile = faults
        .slice(index + 1)
        .filter(({ atMs }) => atMs <= one.atMs + one.lengthMs);
      const same = meanwhile.filter(({ target }) => sameProcess(target, one.target));
      expect(same).toEqual([]);
    }
  }
});

test("a schedule gives a fault only to what can have it", () => {
  const links = new Map(TARGETS.map(({ name, link }) => [name, link]));
  for (const { fault, target } of drawn(1)) {
    if (["cut", "half-open", "stall", "latency"].includes(fault)) {
      expect(links.get(target)).toBe("proxy");
    }
    if (["link-down", "deaf", "mute"].includes(fault)) expect(links.get(target)).toBe("namespace");
    if (fault === "disk-full") expect(target).toBe("nats-server");
    if (fault === "clock") expect(["nats-server", LEADER]).not.toContain(target);
  }
});

test("a schedule puts a coordinator's clock forward by no more than a run can wait for", () => {
  const jumps = SEEDS.flatMap((seed) => drawn(seed)).filter(({ fault }) => fault === "clock");
  for (const { target, amountMs } of jumps) {
    expect(Math.abs(amountMs)).toBeLessThanOrEqual(3_600_000);
    if (target.startsWith("coordinator-")) expect(amountMs).toBeLessThanOrEqual(20_000);
  }
  expect(Math.max(...jumps.map(({ amountMs }) => amountMs))).toBeGreaterThan(3_000_000);
});

test("a schedule fills the disk alone, and not more than every three minutes", () => {
  for (const seed of SEEDS) {
    const faults = drawn(seed);
    const full = faults.filter(({ fault }) => fault === "disk-full");
    for (const [index, one] of full.entries()) {
      expect(one.atMs - (full[index - 1]?.atMs ?? -150_000)).toBeGreaterThanOrEqual(178_000);
      const beside = faults.filter(
        (other) =>
          other !== one && other.atMs < one.atMs + one.lengthMs && other.atMs > one.atMs - 1_000,
      );
      expect(beside).toEqual([]);
    }
  }
});

test("a schedule draws from the wanted faults alone", () => {
  const faults = drawn(3, HALF_HOUR_MS, ["freeze", "cut"]);
  expect(new Set(faults.map(({ fault }) => fault))).toEqual(new Set(["freeze", "cut"]));
});

test("a schedule of full disks alone has some", () => {
  expect(drawn(5, 10 * 60_000, ["disk-full"]).length).toBeGreaterThanOrEqual(2);
});

test("a schedule is empty when no target can have the wanted fault", () => {
  const targets = TARGETS.filter(({ link }) => link !== "namespace");
  expect(schedule({ seed: 1, durationMs: 60_000, targets, only: ["link-down"] })).toEqual([]);
});

function sameProcess(one: string, other: string): boolean {
  const pair = [one, other];
  return one === other || (pair.includes(LEADER) && pair.some((name) => name.startsWith("coord")));
}

/** From the end of the last fault before each cluster to its first. */
function gapsOf(faults: ReturnType<typeof schedule>): number[] {
  const gaps: number[] = [];
  let overMs = 0;
  let startedMs = Number.NEGATIVE_INFINITY;
  for (const { atMs, lengthMs } of faults) {
    // Faults of one cluster strike within 1.5 s of each other.
    if (atMs > overMs && atMs - startedMs > 1_500) {
      if (overMs > 0) gaps.push(atMs - overMs);
      startedMs = atMs;
    }
    overMs = Math.max(overMs, atMs + lengthMs);
  }
  return gaps;
}
