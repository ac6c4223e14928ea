import { describe, expect, test } from "vitest";
import { Config, settle } from "../src/config.ts";
import type { Unanswered } from "../src/inquiry.ts";
import { Mesh } from "./mesh.ts";

const { graceMs, degradedAfterMs, lagDegradedMs, abstainMs, recheckMs, massLossWindowMs } = settle(
  Config.parse({}),
  1,
);
const RENEWAL_MS = 2_000;

describe("the fast path", () => {
  test("fails a node whose connection closed when nobody answers, twice", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    mesh.disconnect("n1");
    expect(mesh.judge()).toEqual(["ping n1"]);
    mesh.nobody("n1");
    expect(mesh.judge()).toEqual([]);
    mesh.wait(graceMs - 1);
    expect(mesh.judge()).toEqual([]);
    mesh.wait(1);
    expect(mesh.judge()).toEqual(["ping n1"]);
    mesh.nobody("n1");
    expect(mesh.judge()).toEqual(["FAILED n1"]);
  });

  test("says when the grace ends", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    mesh.disconnect("n1");
    mesh.judge();
    mesh.nobody("n1");
    expect(mesh.liveness.judge(mesh.now).nextAtMs).toBe(mesh.now + graceMs);
  });

  test("does nothing about a blip: the node answers within the grace", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    mesh.disconnect("n1");
    mesh.judge();
    mesh.nobody("n1");
    mesh.wait(graceMs);
    mesh.judge();
    mesh.pong("n1");
    expect(mesh.judge()).toEqual([]);
    mesh.wait(recheckMs);
    expect(mesh.judge()).toEqual([]);
  });

  test("asks again when the answer is older than the last disconnect", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    mesh.disconnect("n1");
    mesh.judge();
    mesh.wait(1);
    mesh.disconnect("n1");
    mesh.pong("n1");
    expect(mesh.judge()).toEqual(["ping n1"]);
  });

  test.each<Unanswered>(["timeout", "other-life"])(
    "fails nobody on a ping that ends in %s while the lease runs",
    (kind) => {
      const mesh = new Mesh(["n1", "n2"]).settle();
      mesh.disconnect("n1");
      for (let round = 0; round < 5; round++) {
        expect(mesh.judge()).toEqual(["ping n1"]);
        mesh.unanswered("n1", kind);
        expect(mesh.judge()).toEqual([]);
        mesh.wait(recheckMs).renew("n1").renew("n2");
      }
    },
  );
});

describe("who is judged, and how often", () => {
  test("leaves alone who joins, has left or is not known", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    mesh.record("n1", "JOINING");
    mesh.record("n2", "LEFT");
    for (const id of ["n1", "n2", "n3"]) mesh.disconnect(id);
    mesh.wait(60_000);
    expect(mesh.judge()).toEqual([]);
  });

  test("fails a leaving node as well", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    mesh.record("n1", "LEAVING");
    expect(mesh.kill("n1")).toEqual(["FAILED n1"]);
  });

  test("gives the same command again only after it was carried out in vain", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    expect(mesh.kill("n1")).toEqual(["FAILED n1"]);
    expect(mesh.judge()).toEqual([]);
    mesh.liveness.wrote("n1", undefined, mesh.now);
    expect(mesh.judge()).toEqual([]);
    mesh.wait(250);
    expect(mesh.judge()).toEqual(["FAILED n1"]);
    mesh.record("n1", "FAILED");
    expect(mesh.wait(recheckMs).judge()).toEqual([]);
  });
});

describe("the slow path", () => {
  test.each<Unanswered>(["timeout", "no-responders", "other-life"])(
    "fails a node whose lease is gone when a ping ends in %s",
    (kind) => {
      const mesh = new Mesh(["n1", "n2"]).settle();
      mesh.expire("n1");
      expect(mesh.judge()).toEqual(["ping n1"]);
      mesh.unanswered("n1", kind);
      expect(mesh.judge()).toEqual(["FAILED n1"]);
    },
  );

  test("needs a ping that was asked after the lease went", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    mesh.disconnect("n1");
    mesh.judge();
    mesh.wait(10).expire("n1");
    mesh.unanswered("n1", "timeout");
    expect(mesh.judge()).toEqual([]);
    mesh.wait(graceMs);
    expect(mesh.judge()).toEqual(["ping n1"]);
    mesh.unanswered("n1", "timeout");
    expect(mesh.judge()).toEqual(["FAILED n1"]);
  });

  test("degrades a node that answers but cannot renew, and keeps asking", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    mesh.expire("n1");
    mesh.judge();
    mesh.pong("n1");
    expect(mesh.judge()).toEqual(["DEGRADED n1"]);
    mesh.record("n1", "DEGRADED").wait(recheckMs);
    expect(mesh.judge()).toEqual(["ping n1"]);
    mesh.unanswered("n1", "timeout");
    expect(mesh.judge()).toEqual(["FAILED n1"]);
  });

  test("takes another life's lease for none, and gives a new record a second", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    mesh.wait(abstainMs).renew("n2").record("n1", "ACTIVE", 100);
    expect(mesh.wait(999).judge()).toEqual([]);
    expect(mesh.wait(1).judge()).toEqual(["ping n1"]);
  });
});

describe("the brake", () => {
  const ids = Array.from({ length: 10 }, (_, index) => `n${index}`);

  test.each([
    [5, 5, false],
    [6, 0, true],
  ])("of ten nodes cut off at once, %i: %i are failed", (lost, failed, braked) => {
    const mesh = new Mesh(ids).settle();
    const commands = mesh.kill(...ids.slice(0, lost));
    expect(commands.filter((command) => command.startsWith("FAILED"))).toHaveLength(failed);
    expect(mesh.liveness.judge(mesh.now).brake !== undefined).toBe(braked);
  });

  test("needs three nodes", () => {
    const two = new Mesh(["n1", "n2"]).settle();
    expect(two.kill("n1", "n2")).toEqual(["FAILED n1", "FAILED n2"]);
    const three = new Mesh(["n1", "n2", "n3"]).settle();
    expect(three.kill("n1", "n2", "n3")).toEqual([]);
    expect(three.liveness.judge(three.now).brake).toEqual({
      suspectCount: 3,
      failedCount: 0,
      livingCount: 3,
      withheldCount: 3,
    });
  });

  test("lets leases decide", () => {
    const mesh = new Mesh(ids).settle();
    mesh.kill(...ids.slice(0, 6));
    mesh.wait(1);
    for (const id of ids.slice(0, 3)) mesh.expire(id);
    expect(mesh.judge()).toEqual(["ping n0", "ping n1", "ping n2"]);
    for (const id of ids.slice(0, 3)) mesh.nobody(id);
    expect(mesh.judge()).toEqual(["FAILED n0", "FAILED n1", "FAILED n2"]);
  });

  test("counts who failed within the window", () => {
    const four = ids.slice(0, 4);
    const mesh = new Mesh(four).settle();
    for (const id of ["n0", "n1"]) {
      expect(mesh.kill(id)).toEqual([`FAILED ${id}`]);
      mesh.record(id, "FAILED");
    }
    expect(mesh.kill("n2")).toEqual([]);
    mesh.renew("n2").renew("n3").wait(massLossWindowMs);
    mesh.renew("n2").renew("n3");
    expect(mesh.kill("n2")).toEqual(["FAILED n2"]);
  });

  test("holds only those back who do not answer", () => {
    const mesh = new Mesh(ids).settle();
    for (const id of ids) mesh.disconnect(id);
    mesh.judge();
    for (const id of ids.slice(1)) mesh.pong(id);
    mesh.nobody("n0");
    mesh.wait(graceMs);
    expect(mesh.judge()).toEqual(["ping n0"]);
    mesh.nobody("n0");
    expect(mesh.judge()).toEqual(["FAILED n0"]);
  });
});

describe("abstention", () => {
  test("judges nobody while the own link is down", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    mesh.expire("n1");
    mesh.liveness.link(false, mesh.now);
    mesh.disconnect("n2");
    expect(mesh.wait(60_000).judge()).toEqual([]);
  });

  test("after the link returned, believes in who was not heard for a whole TTL", () => {
    const mesh = new Mesh(["n1", "n2", "n3"]).settle();
    mesh.liveness.link(false, mesh.now);
    mesh.wait(30_000).liveness.link(true, mesh.now);
    mesh.expire("n1").renew("n2").renew("n3");
    expect(mesh.wait(abstainMs - 1).judge()).not.toContain("ping n1");
    mesh.renew("n2").renew("n3").wait(1);
    expect(mesh.judge()).toEqual(["ping n1"]);
    mesh.unanswered("n1", "timeout");
    expect(mesh.judge()).toEqual([]);
    mesh.wait(graceMs);
    expect(mesh.judge()).toEqual(["ping n1"]);
    mesh.unanswered("n1", "timeout");
    expect(mesh.judge()).toEqual(["FAILED n1"]);
  });

  test("ends for each node as soon as it renews", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    mesh.liveness.link(false, mesh.now);
    mesh.wait(100).liveness.link(true, mesh.now);
    expect(mesh.kill("n2")).toEqual([]);
    mesh.renew("n1").wait(10);
    expect(mesh.kill("n1")).toContain("FAILED n1");
  });

  test("is not ended by what is only read back", () => {
    const mesh = new Mesh(["n1", "n2"]);
    mesh.renew("n1", { fresh: false });
    expect(mesh.kill("n1")).toEqual([]);
  });
});

describe("load", () => {
  test.each([
    [degradedAfterMs - 1, []],
    [degradedAfterMs, ["DEGRADED n1"]],
  ])("a node not heard for %i ms", (ms, expected) => {
    const mesh = new Mesh(["n1", "n2", "n3"]).settle();
    mesh
      .wait(ms - 1)
      .renew("n2")
      .renew("n3")
      .wait(1);
    expect(mesh.judge()).toEqual(expected);
  });

  test("nobody is degraded when most are late at once: the store is", () => {
    const mesh = new Mesh(["n1", "n2", "n3"]).settle();
    expect(mesh.wait(degradedAfterMs).judge()).toEqual([]);
  });

  test("nobody is degraded when a store that was away let go of every lease", () => {
    const mesh = new Mesh(["n1", "n2", "n3"]).settle().wait(degradedAfterMs);
    for (const id of ["n1", "n2", "n3"]) mesh.expire(id);
    mesh.judge();
    for (const id of ["n1", "n2", "n3"]) mesh.pong(id);
    expect(mesh.judge()).toEqual([]);
    // Nor the last to renew, when it is back; who has not for as long as ever is.
    expect(mesh.renew("n1").renew("n2").judge()).toEqual([]);
    mesh
      .wait(degradedAfterMs - 1)
      .renew("n1")
      .renew("n2")
      .judge();
    mesh.pong("n3");
    expect(mesh.wait(1).judge()).toEqual(["DEGRADED n3"]);
  });

  test.each([
    [lagDegradedMs, []],
    [lagDegradedMs + 1, ["DEGRADED n1"]],
  ])("a node whose event loop is %i ms late", (lagMs, expected) => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    expect(mesh.renew("n1", { lagMs }).judge()).toEqual(expected);
  });

  test("a degraded node recovers after two timely renewals without much lag", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    mesh.record("n1", "DEGRADED").renew("n1", { lagMs: lagDegradedMs });
    for (const lagMs of [0, lagDegradedMs, 0]) {
      mesh.wait(RENEWAL_MS).renew("n1", { lagMs }).renew("n2");
      expect(mesh.judge()).toEqual([]);
    }
    mesh.wait(RENEWAL_MS).renew("n1").renew("n2");
    expect(mesh.judge()).toEqual(["ACTIVE n1"]);
  });

  test("a leaving node is neither degraded nor recovered", () => {
    const mesh = new Mesh(["n1", "n2"]).settle();
    mesh.record("n1", "LEAVING").renew("n1", { lagMs: 60_000 });
    expect(mesh.judge()).toEqual([]);
  });
});

test("asks no more nodes at once than it may, and the others as answers come", () => {
  const ids = Array.from({ length: 5 }, (_, index) => `n${index}`);
  const mesh = new Mesh(ids, { pingsMax: 2 }).settle();
  for (const id of ids) mesh.disconnect(id);
  expect(mesh.judge()).toEqual(["ping n0", "ping n1"]);
  expect(mesh.judge()).toEqual([]);
  mesh.pong("n0");
  expect(mesh.judge()).toEqual(["ping n2"]);
});
