import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  ATTEMPTS_MAX,
  BACKOFF_DEFAULT,
  formatDuration,
  Header,
  isBadHeader,
  isCapability,
  isNodeId,
  isTaskId,
  Labels,
  parseDuration,
  parseMsgId,
  parseSubmitHeaders,
  SUBMIT_HEADERS,
  SUBMIT_OPTIONS_DEFAULT,
} from "../src/mod.ts";

const DAY_MS = 86_400_000;

/** Names that must not pass: the table of bad inputs in the notes on reliability. */
const BAD_NAMES = [
  ["nothing", ""],
  ["a space", " "],
  ["a space inside", "a b"],
  ["a tab", "a\tb"],
  ["a protocol line", "a\r\nPUB x 1\r\nA"],
  ["a line feed at the end", "a\n"],
  ["a zero byte", "a\u0000b"],
  ["two tokens", "a.b"],
  ["an empty token", "a..b"],
  ["a dot first", ".a"],
  ["a dot last", "a."],
  ["a wildcard", "*"],
  ["the wildcard for the rest", ">"],
  ["a wildcard behind a token", "a.>"],
  ["a subject of JetStream", "$JS.API.STREAM.PURGE.X"],
  ["an inbox", "_INBOX.x"],
  ["a path", "../../etc/passwd"],
  ["a path of another system", "..\\"],
  ["a Cyrillic letter", "\u0430"],
  ["text that runs backwards", "\u202eabc"],
  ["a character of no width", "a\u200bb"],
  ["half a character", "\ud800"],
  ["a percent sign", "%41"],
  ["an at sign", "a@b"],
  ["a colon", "a:b"],
  ["a hash", "#"],
  ["65 characters", "x".repeat(65)],
  ["5 KB", "x".repeat(5_000)],
  ["70 KB", "x".repeat(70_000)],
] as const;

describe("a name", () => {
  test.each(BAD_NAMES)("is not %s", (_, name) => {
    expect([isTaskId(name), isNodeId(name), isCapability(name)]).toEqual([false, false, false]);
  });

  test.each(["a", "A-b_9", "x".repeat(64), "__proto__", "constructor", "NUL", "-", "0"])(
    "may be %s",
    (name) => {
      expect([isTaskId(name), isNodeId(name), isCapability(name)]).toEqual([true, true, true]);
    },
  );

  test("that passes is one token of a subject", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 70 }), (name) => {
        if (isTaskId(name)) expect(name).toMatch(/^[\w-]{1,64}$/);
      }),
    );
  });
});

describe("a duration", () => {
  test.each([
    ["1ms", 1],
    ["500ms", 500],
    ["30s", 30_000],
    ["5m", 300_000],
    ["24h", DAY_MS],
    ["007s", 7_000],
    ["0s", undefined],
    ["25h", undefined],
    ["86400001ms", undefined],
    ["-1s", undefined],
    ["1.5s", undefined],
    ["1e3s", undefined],
    ["Infinitys", undefined],
    ["1 s", undefined],
    ["1s\n", undefined],
    ["s", undefined],
    ["1", undefined],
    ["1d", undefined],
    ["١s", undefined],
    ["9999999999ms", undefined],
    ["", undefined],
  ])("%j is %s", (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  test("that is written is read as it was", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: DAY_MS }), (ms) => {
        expect(parseDuration(formatDuration(ms))).toBe(ms);
      }),
    );
  });
});

describe("the headers of a submit", () => {
  test("may be none", () => {
    expect(parseSubmitHeaders(undefined)).toBe(SUBMIT_OPTIONS_DEFAULT);
    expect(parse({})).toEqual(SUBMIT_OPTIONS_DEFAULT);
  });

  test("are read", () => {
    const trace = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
    const options = parse({
      [Header.maxAttempts]: "5",
      [Header.timeout]: "30s",
      [Header.backoff]: "fixed:2s",
      [Header.requires]: "gpu=a100, zone=eu",
      [Header.prefer]: "n1",
      [Header.strategy]: "round_robin",
      [Header.traceparent]: trace,
    });
    expect(options).toEqual({
      maxAttempts: 5,
      timeoutMs: 30_000,
      backoff: { kind: "fixed", delayMs: 2_000 },
      requires: { gpu: "a100", zone: "eu" },
      prefer: "n1",
      strategy: "round_robin",
      trace,
    });
  });

  test("ask for exponential backoff when they say nothing", () => {
    const written = "exponential:1s:60s";
    expect(parse({ [Header.backoff]: written })).toMatchObject({ backoff: BACKOFF_DEFAULT });
  });
});

describe("a bad header of a submit", () => {
  test.each([
    { header: Header.maxAttempts, values: ["0", "101", "-1", "1.5", "1e2", "x", " 3", "0x3", "٣"] },
    { header: Header.timeout, values: ["banana", "0s", "-1s", "Infinity", "25h", "5"] },
    {
      header: Header.backoff,
      values: [
        "linear:2s",
        "fixed",
        "fixed:",
        "fixed:2s:3s",
        "fixed:0s",
        "exponential:1s",
        "exponential:60s:1s",
        "exponential:1s:60s:2",
        "exponential:1s:48h",
        ":",
      ],
    },
    {
      header: Header.requires,
      values: [
        "gpu",
        "=",
        "gpu=",
        "=a",
        "a=b=c",
        "a=b,",
        "gpu=a b",
        "gpu=ä",
        "a=b;c=d",
        "a=1,a=2",
        "__proto__=x",
        "*=>",
      ],
    },
    { header: Header.prefer, values: ["a.b", "*", ">", "n 1", "x".repeat(65)] },
    { header: Header.strategy, values: ["best", "Least_Loaded", "__proto__", "constructor"] },
  ])("is refused by its name: $header", ({ header, values }) => {
    for (const value of values) {
      const options = parse({ [header]: value });
      expect(options, value).toMatchObject({ header });
      expect(isBadHeader(options) && options.problem).toContain(JSON.stringify(value.slice(0, 80)));
    }
  });

  test("may be one with more labels, or longer ones, than there may be", () => {
    const many = Array.from({ length: 65 }, (_, n) => `l${n}=1`).join();
    for (const value of [many, `a=${"x".repeat(65)}`, "a=b,".repeat(10_000)]) {
      expect(parse({ [Header.requires]: value })).toMatchObject({ header: Header.requires });
    }
  });

  test("is shown cut, with nothing that ends a line", () => {
    const options = parse({ [Header.timeout]: `\r\n\u0000${"x".repeat(100_000)}` });
    if (!isBadHeader(options)) throw new Error("expected a problem");
    expect(options.problem.length).toBeLessThan(300);
    expect([...options.problem].every((character) => character >= " ")).toBe(true);
  });

  test.each(["", "00", "x".repeat(70_000), `00-${"g".repeat(32)}-${"b".repeat(16)}-01`])(
    "is dropped when it is a trace, which must not harm the task",
    (trace) => {
      expect(parse({ [Header.traceparent]: trace })).toEqual(SUBMIT_OPTIONS_DEFAULT);
    },
  );
});

describe("any header of a submit", () => {
  test("never makes the reader throw, and what passes is within its limits", () => {
    const value = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.string(),
      fc.stringMatching(/^[a-z0-9:=,.]{0,20}$/),
    );
    const values = fc.dictionary(fc.constantFrom(...SUBMIT_HEADERS), value);
    fc.assert(
      fc.property(values, (given) => {
        const options = parse(given);
        if (isBadHeader(options)) return;
        expect(options.maxAttempts).toBeGreaterThanOrEqual(1);
        expect(options.maxAttempts).toBeLessThanOrEqual(ATTEMPTS_MAX);
        expect(options.timeoutMs).toBeLessThanOrEqual(DAY_MS);
        expect(options.prefer === undefined || isNodeId(options.prefer)).toBe(true);
        if (options.requires !== undefined) Labels.parse(options.requires);
        if (options.backoff.kind === "exponential") {
          expect(options.backoff.baseMs).toBeLessThanOrEqual(options.backoff.maxMs);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("a task id", () => {
  test("is the caller's, or nobody's", () => {
    expect(parseMsgId("")).toBeUndefined();
    expect(parseMsgId("order-7")).toBe("order-7");
  });

  test.each(BAD_NAMES.slice(1))("that holds %s is a problem", (_, name) => {
    expect(parseMsgId(name)).toMatchObject({ header: Header.msgId });
  });

  test("of any text never makes the reader throw", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => void parseMsgId(text)));
  });
});

function parse(values: Record<string, string>) {
  return parseSubmitHeaders({ get: (name) => values[name] ?? "" });
}
