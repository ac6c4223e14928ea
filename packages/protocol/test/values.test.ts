import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import {
  BUCKETS,
  check,
  decode,
  ErrorCode,
  encode,
  isFinal,
  looseValue,
  mayBecome,
  NODE_TRANSITIONS,
  NodeState,
  Outcome,
  PAYLOAD_MAX_BYTES,
  Progress,
  Refusal,
  Registration,
  STREAMS,
  TASK_TRANSITIONS,
  TaskRecord,
  TaskStatus,
  wireError,
} from "../src/mod.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const Point = z.object({ x: z.number() });

describe("decode", () => {
  test.each([
    ["nothing", new Uint8Array(), "empty, expected JSON"],
    ["bytes that are no text", new Uint8Array([0xff, 0xfe]), "not JSON"],
    ["half a document", bytes('{"x":'), "not JSON"],
    ["a word", bytes("NaN"), "not JSON"],
    ["a number", bytes("1"), "value: "],
    ["a list", bytes("[1]"), "value: "],
    ["null", bytes("null"), "value: "],
    ["another shape", bytes('{"y":1}'), "x: "],
    ["a number too large for one", bytes('{"x":1e400}'), "x: "],
    ["ten thousand levels", bytes("[".repeat(10_000) + "]".repeat(10_000)), "value: "],
  ])("tells what is wrong with %s", (_, payload, problem) => {
    const decoded = decode(Point, payload);
    expect(decoded.ok).toBe(false);
    expect(!decoded.ok && decoded.problem).toContain(problem);
  });

  test("takes what fits, and no prototype with it", () => {
    const decoded = decode(Point, bytes('{"x":1,"x":2,"__proto__":{"y":3},"more":true}'));
    expect(decoded).toEqual({ ok: true, value: { x: 2 } });
    expect(decoded.ok && "y" in decoded.value).toBe(false);
  });

  test("names at most five problems", () => {
    const five = z.array(z.number());
    const checked = check(five, Array(9).fill("a"));
    expect(!checked.ok && checked.problem).toContain("and 4 more");
  });

  test("never throws", () => {
    fc.assert(fc.property(fc.uint8Array(), (payload) => void decode(TaskRecord, payload)));
    fc.assert(fc.property(fc.json(), (text) => void decode(Outcome, bytes(text))));
  });
});

describe("looseValue", () => {
  test.each([
    ["42", 42],
    ['{"a":1}', { a: 1 }],
    ["plain words", "plain words"],
    ["", ""],
  ])("of %j is %j", (text, value) => {
    expect(looseValue(bytes(text))).toEqual(value);
  });

  test("of bytes that are no text is base64", () => {
    expect(looseValue(new Uint8Array([0xff, 0xfe]))).toBe("//4=");
  });

  test("is always a value that can be written", () => {
    fc.assert(fc.property(fc.uint8Array(), (any) => typeof encode(looseValue(any)) === "string"));
  });
});

describe("the states of a task", () => {
  test("lead to states there are, and each can be reached", () => {
    const reached = new Set(Object.values(TASK_TRANSITIONS).flat());
    for (const status of TaskStatus.options) {
      // The first record of a task is `running`, `rejected` or `cancelled`.
      expect(reached.has(status) || status === "rejected").toBe(true);
    }
  });

  test.each(TaskStatus.options)("from %s an end can be reached", (status) => {
    const seen = new Set([status]);
    for (const one of seen) for (const next of TASK_TRANSITIONS[one]) seen.add(next);
    expect([...seen].some(isFinal)).toBe(true);
  });

  test("are final for four", () => {
    expect(TaskStatus.options.filter(isFinal)).toEqual([
      "succeeded",
      "failed",
      "cancelled",
      "rejected",
    ]);
  });
});

describe("the states of a node", () => {
  test.each(NodeState.options)("%s is not an end: a node may always come back", (state) => {
    const seen = new Set([state]);
    for (const one of seen) for (const next of NODE_TRANSITIONS[one]) seen.add(next);
    expect(seen).toContain("ACTIVE");
    expect(seen).toContain("FAILED");
  });

  test("allow a new life only behind the end of the last one", () => {
    const before = NodeState.options.filter((state) => mayBecome(state, "JOINING"));
    expect(before).toEqual(["DISCOVERING", "LEFT", "FAILED"]);
  });
});

describe("an outcome", () => {
  const error = { code: "handler_failed", message: "no", retryable: true };
  test.each([
    ["a result", { attempt: 1, epoch: 0, ok: true, result: { a: 1 } }, true],
    ["no result", { attempt: 1, epoch: 0, ok: true }, true],
    ["an error", { attempt: 1, epoch: 9, ok: false, error, agent: "main" }, true],
    ["no error", { attempt: 1, epoch: 9, ok: false }, false],
    ["no attempt", { epoch: 9, ok: true }, false],
    ["attempt 0", { attempt: 0, epoch: 9, ok: true }, false],
    ["attempt 1.5", { attempt: 1.5, epoch: 9, ok: true }, false],
    ["an epoch before all", { attempt: 1, epoch: -1, ok: true }, false],
    ["an attempt beyond counting", { attempt: 2 ** 53, epoch: 1, ok: true }, false],
    ["an agent that is no name", { attempt: 1, epoch: 1, ok: true, agent: "a.b" }, false],
    [
      "a code in capitals",
      { attempt: 1, epoch: 1, ok: false, error: { ...error, code: "NO" } },
      false,
    ],
    [
      "a message without end",
      { attempt: 1, epoch: 1, ok: false, error: { ...error, message: "x".repeat(4_097) } },
      false,
    ],
    ["text for yes", { attempt: 1, epoch: 1, ok: "true" }, false],
  ])("with %s", (_, outcome, good) => {
    expect(Outcome.safeParse(outcome).success).toBe(good);
  });

  test("of progress needs a try", () => {
    expect(Progress.safeParse({ progress: 1 }).success).toBe(false);
    expect(Progress.safeParse({ attempt: 1 }).success).toBe(true);
  });
});

describe("a registration", () => {
  const good = {
    host: "h",
    role: "worker",
    agents: [{ name: "main", capabilities: ["echo"], slots: 1 }],
    version: "1.0.0",
  };
  const agent = good.agents[0];
  test("with what is needed is filled up", () => {
    expect(Registration.safeParse(good).error?.message).toBeUndefined();
  });

  test.each([
    ["no agents", { agents: [] }],
    ["an agent without capabilities", { agents: [{ ...agent, capabilities: [] }] }],
    ["an agent without slots", { agents: [{ ...agent, slots: 0 }] }],
    ["half a slot", { agents: [{ ...agent, slots: 0.5 }] }],
    ["too many slots", { agents: [{ ...agent, slots: 1_001 }] }],
    ["a capability that is a wildcard", { agents: [{ ...agent, capabilities: [">"] }] }],
    ["a label with a space", { labels: { "a b": "c" } }],
    ["a label that is no text", { labels: { gpu: 1 } }],
    ["a role of its own", { role: "king" }],
    ["a host without end", { host: "x".repeat(256) }],
  ])("with %s is refused", (_, more) => {
    expect(Registration.safeParse({ ...good, ...more }).success).toBe(false);
  });
});

describe("an error", () => {
  test("of each code the mesh gives may be sent, and is read as a refusal", () => {
    for (const code of ErrorCode.options) {
      const refusal = decode(Refusal, bytes(encode({ error: wireError(code, "x".repeat(9_999)) })));
      expect(refusal).toMatchObject({ ok: true, value: { error: { code } } });
    }
  });

  test("in a record does not make the record a refusal", () => {
    expect(Refusal.safeParse({ id: "t1", error: wireError("cancelled", "x") }).success).toBe(false);
  });
});

test("every store has a name and a limit of its own", () => {
  const names = [...STREAMS, ...BUCKETS].map((store) => store.name);
  expect(new Set(names).size).toBe(names.length);
  for (const stream of STREAMS) expect(stream.maxMsgBytes).toBeGreaterThan(0);
  for (const bucket of BUCKETS) expect(bucket.maxValueBytes).toBeGreaterThan(0);
  const [tasks] = STREAMS;
  expect(tasks?.maxMsgBytes).toBeGreaterThan(PAYLOAD_MAX_BYTES);
});
