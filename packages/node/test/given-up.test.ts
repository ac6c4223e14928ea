import { expect, test } from "vitest";
import { isOver } from "../src/join.ts";

test.each([
  ["it is at work", 7, "ACTIVE", false],
  ["it leaves", 7, "LEAVING", false],
  ["it failed", 7, "FAILED", true],
  ["a later one is at work", 9, "ACTIVE", true],
  // The record of a life that joins holds the number of the one before.
  ["a later one joins", 7, "JOINING", true],
  ["it joins itself, after one that failed", 4, "JOINING", false],
  ["it is not told of yet", 4, "FAILED", false],
] as const)("life 7 of a node: %s", (_, incarnation, state, over) => {
  expect(isOver(7, { incarnation, state })).toBe(over);
});
