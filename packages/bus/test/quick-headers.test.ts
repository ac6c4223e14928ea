import { quickHeaders } from "@swarm-mesh/bus";
import { headers, type Msg } from "nats";
import { describe, expect, test } from "vitest";

/** A message as the library hands it out, made of what came over the wire. */
function message(block: string, body = "body"): Msg {
  const bytes = new TextEncoder().encode(block + body);
  const parts = { hdr: block === "" ? -1 : new TextEncoder().encode(block).length };
  return { _msg: parts, _rdata: bytes } as unknown as Msg;
}

function read(block: string): [string, unknown][] | "malformed" | undefined {
  const found = quickHeaders(message(block));
  if (found === undefined || found === "malformed") return found;
  return [...found].map(([name, value]) => [name, value]);
}

describe("reads what the library reads", () => {
  test.each([
    [[["Nats-Msg-Id", "t1"]]],
    [
      [
        ["a", "1"],
        ["A", "2"],
        ["traceparent", "00-ab-cd-01"],
      ],
    ],
    [[["Mesh-Prefer", "ä ö: ü"]]],
    [[["x", ""]]],
  ])("%j", (entries) => {
    const theirs = headers();
    for (const [name = "", value = ""] of entries) theirs.append(name, value);
    const found = read(String(theirs));
    expect(found).toEqual(entries);
    const ours = quickHeaders(message(String(theirs)));
    for (const [name = ""] of entries) {
      expect((ours as { get(name: string): string }).get(name)).toBe(theirs.get(name));
    }
  });
});

test.each([
  ["no headers", "", undefined],
  ["none but the version", "NATS/1.0\r\n\r\n", []],
  ["a status", "NATS/1.0 503 No Responders\r\n\r\n", []],
  [
    "no space behind the colon, and spaces around a value",
    "NATS/1.0\r\na:1\r\nb:  2 \r\n\r\n",
    [
      ["a", "1"],
      ["b", "2"],
    ],
  ],
  ["the first of two values", "NATS/1.0\r\na: 1\r\na: 2\r\n\r\n", [["a", "1"]]],
  ["a line without a colon", "NATS/1.0\r\nnothing\r\na: 1\r\n\r\n", [["a", "1"]]],
  ["a colon in a value", "NATS/1.0\r\na: b:c\r\n\r\n", [["a", "b:c"]]],
  ["a space in a name", "NATS/1.0\r\nbad name: x\r\n\r\n", "malformed"],
  ["a name that is empty", "NATS/1.0\r\n: x\r\n\r\n", "malformed"],
  ["a name beyond ASCII", "NATS/1.0\r\nä: x\r\n\r\n", "malformed"],
  ["a block cut short", "NATS/1.0\r\na: 1", [["a", "1"]]],
] as const)("%s", (_what, block, expected) => {
  expect(read(block)).toEqual(expected);
});

test("a name that an object has by nature is no header", () => {
  const found = quickHeaders(message("NATS/1.0\r\na: 1\r\n\r\n"));
  expect((found as { get(name: string): string }).get("constructor")).toBe("");
});
