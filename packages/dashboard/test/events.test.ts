import { encode, leaderEventSubject, nodeEventSubject } from "@swarm-mesh/protocol";
import { describe, expect, test } from "vitest";
import { type EventRow, eventOf, termsOf } from "../src/page/events.ts";
import { lanesOf } from "../src/page/sounding.ts";
import { storyOf } from "../src/page/story.ts";
import { record } from "./records.ts";

const bytes = (value: unknown): Uint8Array => new TextEncoder().encode(encode(value));

describe("terms", () => {
  test("end when the leader says so, or when another one begins", () => {
    const events = [
      leader(1, "a", "elected", 1, "10:00:00"),
      leader(2, "a", "resigned", 1, "10:00:05"),
      leader(3, "b", "elected", 9, "10:00:06"),
      leader(4, "a", "elected", 12, "10:01:00"),
      // Late news of a term that is over changes nothing.
      leader(5, "b", "lost", 9, "10:01:01"),
    ];
    expect(termsOf(events)).toMatchObject([
      { instance: "a", epoch: 12, until: undefined },
      { instance: "b", epoch: 9, until: at("10:01:00"), ended: "replaced" },
      { instance: "a", epoch: 1, until: at("10:00:05"), ended: "resigned" },
    ]);
  });

  test("an event nobody can read is left out", () => {
    expect(eventOf(1, leaderEventSubject("coordinator"), bytes({}))).toBeUndefined();
    expect(eventOf(1, nodeEventSubject("n1", "failed"), bytes("x"))).toBeUndefined();
  });
});

test("a task's story is told in the order it happened", () => {
  const story = storyOf(record({ id: "a", status: "failed", attempt: 2, moves: 1 }));
  expect(story.map(({ what, node = "" }) => `${what} ${node}`.trim())).toEqual([
    "submitted",
    "moved from n2 to n1",
    "try 2 began on n1",
    "try 2 failed on n1",
    "failed",
  ]);
});

test("what is stored is counted by capability and lane, the fullest first", () => {
  expect(
    lanesOf({
      "mesh.tasks.submit.echo": 2,
      "mesh.tasks.submit.echo.normal": 3,
      "mesh.tasks.submit.echo.high": 1,
      "mesh.tasks.retry.work": 9,
    }),
  ).toEqual([
    { capability: "work", lane: "retry", stored: 9 },
    { capability: "echo", lane: "normal", stored: 5 },
    { capability: "echo", lane: "high", stored: 1 },
  ]);
});

function at(time: string): string {
  return `2026-01-01T${time}.000Z`;
}

function leader(
  seq: number,
  instance: string,
  kind: "elected" | "resigned" | "lost",
  epoch: number,
  time: string,
): EventRow {
  const event = { service: "coordinator", instance, epoch, kind, at: at(time) };
  const row = eventOf(seq, leaderEventSubject("coordinator"), bytes(event));
  if (row === undefined) throw new Error("no event");
  return row;
}
