import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { bytes, cell, document, line, painter, pairs, print, span, table } from "../src/output.ts";
import { show } from "../src/watching.ts";
import { FakeIo } from "./fake-io.ts";

describe("output", () => {
  test("tables have columns and no borders", () => {
    expect(
      table(
        ["ID", "STATE"],
        [
          ["n1", "ACTIVE"],
          ["node-two", "FAILED"],
        ],
      ),
    ).toBe("ID        STATE\nn1        ACTIVE\nnode-two  FAILED\n");
  });

  test("pairs line up", () => {
    expect(
      pairs([
        ["id", "t1"],
        ["status", "running"],
      ]),
    ).toBe("id      t1\nstatus  running\n");
  });

  test("colour is for terminals alone", () => {
    expect(painter(false)("red", "x")).toBe("x");
    expect(painter(true)("red", "x")).toBe("\u001b[31mx\u001b[39m");
  });

  test("JSON is one document, or one line each", () => {
    const io = new FakeIo();
    print(io, "json", { a: 1 }, () => "never");
    print(io, "table", { a: 1 }, () => "a is 1\n");
    expect(io.stdout).toBe('{\n  "a": 1\n}\na is 1\n');
    expect(document([])).toBe("[]\n");
    expect(line({ a: 1 })).toBe('{"a":1}\n');
  });

  test.each([
    [0, "0ms"],
    [999, "999ms"],
    [1_000, "1s"],
    [59_999, "59s"],
    [3_600_000, "1h"],
    [200_000_000, "2d"],
    [Number.NaN, "-"],
  ])("%s ms is %s", (ms, text) => {
    expect(span(ms)).toBe(text);
  });

  test("bytes and cells are short", () => {
    expect(bytes(0)).toBe("0 B");
    expect(bytes(1_536)).toBe("1.5 KiB");
    expect(bytes(5 * 2 ** 40)).toBe("5.0 TiB");
    expect(cell(" a\n  b\n")).toBe("a b");
    expect(cell("abcdef", 4)).toBe("abc…");
  });

  test.each([
    ["json", '{"n":1}\n'],
    ["table", "\u001b[H\u001b[2Jn is 1\n"],
  ] as const)("a watch prints %s until interrupted", async (format, first) => {
    const io = new FakeIo({ terminal: true });
    let n = 0;
    const view = { read: async () => ({ n: ++n }), render: () => `n is ${n}\n` };
    const showing = show(view, { io, format, watch: true });
    while (io.stdout === "") await sleep(1);
    io.stop.abort();
    await showing;
    expect(io.stdout).toBe(first);
  });
});
