import { wireError } from "@swarm-mesh/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  afterRound,
  IDLE_ROUNDS_MAX,
  judgeReply,
  moveReasonOf,
  NO_PROGRESS,
  planMigration,
  type Reply,
} from "../src/migration.ts";

test.each<[Reply<string>, string]>([
  [{ kind: "ok", value: "moved" }, "answered"],
  [{ kind: "no-responders" }, "again"],
  [{ kind: "timeout" }, "again"],
  [{ kind: "refused", error: wireError("not_leader", "", true) }, "again"],
  [{ kind: "refused", error: wireError("unavailable", "", true) }, "again"],
  [{ kind: "refused", error: wireError("bad_request", "") }, "refused"],
  [{ kind: "malformed", problem: "empty" }, "refused"],
])("judges %o as %s", (reply, expected) => {
  expect(judgeReply(reply).kind).toBe(expected);
});

test.each([
  ["FAILED", "node_failed"],
  ["LEFT", "node_left"],
  ["DEGRADED", undefined],
  ["ACTIVE", undefined],
] as const)("moves tasks for a node that is %s: %s", (to, expected) => {
  const event = { node: "n1", incarnation: 1, from: "ACTIVE", reason: "", at: "", by: "" } as const;
  expect(moveReasonOf({ ...event, to })).toBe(expected);
});

describe("planning", () => {
  const tasks = [{ id: "t1", attempt: 1 }];

  test("is settled when nothing is held, whatever came before", () => {
    const stuck = { ...NO_PROGRESS, idleRounds: IDLE_ROUNDS_MAX };
    expect(planMigration({ tasks: [] }, NO_PROGRESS)).toEqual({ kind: "settled" });
    expect(planMigration({ tasks: [] }, stuck)).toEqual({ kind: "settled" });
  });

  test("puts off what does not move", () => {
    let progress = NO_PROGRESS;
    for (let round = 0; round < IDLE_ROUNDS_MAX; round++) {
      expect(planMigration({ tasks }, progress)).toEqual({ kind: "move", tasks });
      progress = afterRound(progress, ["stale"]);
    }
    expect(planMigration({ tasks }, progress)).toEqual({ kind: "put-off" });
    expect(planMigration({ tasks }, afterRound(progress, ["stale", "moved"])).kind).toBe("move");
  });

  test("counts every answer once", () => {
    const rounds = fc.array(fc.array(fc.constantFrom("moved" as const, "stale" as const)));
    fc.assert(
      fc.property(rounds, (all) => {
        const { movedCount, staleCount } = all.reduce(afterRound, NO_PROGRESS);
        const answers = all.flat();
        expect(movedCount).toBe(answers.filter((answer) => answer === "moved").length);
        expect(movedCount + staleCount).toBe(answers.length);
      }),
    );
  });
});
