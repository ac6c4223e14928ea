/** What dead letters have in common. */
import { describe, expect, test } from "vitest";
import { type DeadLetter, LetterGroups, shapeOf } from "../src/dead-letters.ts";

const letter = (parts: Partial<DeadLetter>): DeadLetter => ({
  ...{ seq: 1, task: "t1", capability: "thumb", at: "2026-11-21T12:00:00.000Z", status: "failed" },
  ...{ lane: "normal", submittedAt: "2026-11-21T11:59:00.000Z", tries: [], headers: {} },
  ...{ error: null, body: new Uint8Array() },
  ...parts,
});
const error = (code: string, message: string) => ({ code, message, retryable: false });

describe("the shape of a message", () => {
  test.each([
    ["took longer than 30000 ms", "took longer than <n> ms"],
    ['cannot open "/srv/a.png"', "cannot open <text>"],
    ["no row 0f8fad5b-d9cd-469f-a165-70867728950e here", "no row <id> here"],
    ["commit deadbeef01 is\n gone", "commit <id> is gone"],
    ["disk full", "disk full"],
  ])("%s", (message, shape) => {
    expect(shapeOf(message)).toBe(shape);
  });
});

describe("groups", () => {
  test("count alike ends, the largest first, and name the last of them", () => {
    const groups = new LetterGroups();
    groups.add(
      letter({ task: "a", error: error("timeout", "took 1 ms"), at: "2026-11-21T12:00:00.000Z" }),
    );
    groups.add(letter({ task: "b", error: error("disk_full", "disk full") }));
    groups.add(
      letter({
        task: "c",
        error: error("timeout", "took 2 ms"),
        at: "2026-11-21T12:00:09.000Z",
        capability: "crop",
      }),
    );
    groups.add(letter({ task: "d", error: "cut" }));
    expect(groups.all()).toEqual([
      {
        ...{ code: "timeout", shape: "took <n> ms", capabilities: ["thumb", "crop"], count: 2 },
        ...{ first: "2026-11-21T12:00:00.000Z", last: "2026-11-21T12:00:09.000Z", example: "c" },
      },
      expect.objectContaining({ code: "disk_full", count: 1 }),
      expect.objectContaining({ code: "", shape: "no error that can be read", count: 1 }),
    ]);
  });

  test("are as many as can be told apart, and one for the rest", () => {
    const groups = new LetterGroups();
    for (let index = 0; index < 2_500; index++) {
      groups.add(letter({ error: error(`code_${index}`, "m") }));
    }
    const all = groups.all();
    expect(all.length).toBeLessThanOrEqual(1_001);
    expect(all.reduce((sum, { count }) => sum + count, 0)).toBe(2_500);
    expect(all[0]).toMatchObject({ shape: "everything else" });
  });
});
