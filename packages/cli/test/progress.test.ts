/** How far it has come, and how fast it may go. */
import { ManualClock } from "@swarm-mesh/testkit";
import { describe, expect, test } from "vitest";
import { Pace } from "../src/pace.ts";
import { Progress, progressLine } from "../src/progress.ts";
import { FakeIo } from "./fake-io.ts";

describe("the line", () => {
  test.each([
    [
      { done: 50, total: 100 },
      1_000,
      "[############------------]  50 % 50 of 100 retried, 50/s, 1s left",
    ],
    [{ done: 0, total: 100 }, 0, "[------------------------]   0 % 0 of 100 retried, 0.0/s"],
    [
      { done: 7, total: 7, note: "1 failed" },
      2_000,
      "[########################] 100 % 7 of 7 retried, 3.5/s, 0s left, 1 failed",
    ],
    [{ done: 1_200 }, 60_000, "1200 retried, 20/s"],
  ])("%o after %d ms", (reached, elapsedMs, line) => {
    expect(progressLine("retried", reached, elapsedMs)).toBe(line);
  });
});

describe("at a terminal", () => {
  test("what takes long is shown, now and then, and taken away", async () => {
    const [io, clock] = [new FakeIo({ terminal: true }), new ManualClock()];
    const progress = new Progress(io, "table", "done", clock);
    progress.tell({ done: 1 });
    progress.clear();
    expect(io.stderr).toBe("");
    await clock.advance(1_000);
    for (const done of [2, 3, 4]) progress.tell({ done });
    expect(io.stderr).toBe("\r\u001b[K2 done, 2.0/s");
    await clock.advance(1_000);
    progress.tell({ done: 9 });
    progress.clear();
    progress.clear();
    expect(io.stderr).toBe("\r\u001b[K2 done, 2.0/s\r\u001b[K9 done, 4.5/s\r\u001b[K");
    expect(io.stdout).toBe("");
  });

  test.each([
    ["json", true],
    ["jsonl", true],
    ["table", false],
  ] as const)("but not for programs: %s, terminal %s", async (format, terminal) => {
    const [io, clock] = [new FakeIo({ terminal }), new ManualClock()];
    const progress = new Progress(io, format, "done", clock);
    await clock.advance(5_000);
    progress.tell({ done: 1 });
    expect(io.stderr).toBe("");
  });
});

describe("a pace", () => {
  test("lets so many through a second, and saves nothing up", async () => {
    const clock = new ManualClock();
    const pace = new Pace(4, clock);
    let through = 0;
    const come = (): void => void pace.turn().then(() => through++);
    for (let index = 0; index < 6; index++) come();
    await clock.advance(0);
    expect(through).toBe(1);
    await clock.advance(250);
    expect(through).toBe(2);
    await clock.advance(750);
    expect(through).toBe(5);
    await clock.advance(10_000);
    expect(through).toBe(6);
    for (let index = 0; index < 3; index++) come();
    await clock.advance(0);
    expect(through).toBe(7);
  });

  test("none at all holds nobody up", async () => {
    const clock = new ManualClock();
    await Promise.all([new Pace(undefined, clock).turn(), new Pace(undefined, clock).turn()]);
    expect(clock.elapsed()).toBe(0);
  });
});
