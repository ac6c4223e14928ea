import { homedir } from "node:os";
import { expect, test } from "vitest";
import { homeOf } from "../src/io.ts";

test("a user whom no list names has the root for a home, and is no failure", () => {
  // What os.homedir() does for a unit's user of its own, where systemd's list of them is not asked.
  const nowhere = (): string => {
    throw new Error("A system error occurred: uv_os_homedir returned ENOENT");
  };
  expect(homeOf(nowhere)).toBe("/");
  expect(homeOf()).toBe(homedir());
});
