import { encode, isFinal, TaskStatus } from "@swarm-mesh/protocol";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesOf, unfinishedText } from "../src/unfinished.ts";
import { recordOf } from "./mesh-double.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const status = fc.constantFrom(...TaskStatus.options);

describe("unfinishedText", () => {
  test.each(TaskStatus.options)("a record that is %s", (status) => {
    const text = encode(recordOf({ id: "t1", status }));
    expect(unfinishedText(bytes(text))).toBe(isFinal(status) ? undefined : text);
  });

  test("takes no final record for an unfinished one, whatever it holds", () => {
    const hostile = fc.oneof(
      fc.jsonValue(),
      fc.constant('"status":"running"'),
      fc.constant({ status: "running", deeper: { status: "pending" } }),
    );
    fc.assert(
      fc.property(status, hostile, fc.boolean(), (status, result, turned) => {
        const record = { ...recordOf({ id: "t1", status }), result, progress: result };
        const entries = Object.entries(record);
        const shown = encode(Object.fromEntries(turned ? entries.reverse() : entries));
        const text = unfinishedText(bytes(shown));
        if (isFinal(status)) expect(text).toBeUndefined();
        if (text !== undefined) expect(new TextDecoder().decode(bytesOf(text))).toBe(shown);
      }),
    );
  });

  test("makes nothing of what is no record", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (data) => {
        expect(unfinishedText(data)).toBeUndefined();
      }),
    );
  });
});
