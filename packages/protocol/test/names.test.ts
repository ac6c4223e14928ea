import { expect, test } from "vitest";
import { retryId } from "../src/names.ts";

test.each([
  ["t1", 17, "t1-r17"],
  ["t1-r17", 40, "t1-r17-r40"],
  ["x".repeat(64), 5, `${"x".repeat(61)}-r5`],
])("the next life's id of %s, letter %d", (task, seq, id) => {
  expect(retryId(task, seq)).toBe(id);
});
