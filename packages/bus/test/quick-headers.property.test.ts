import { headerBlock, quickHeaders } from "@swarm-mesh/bus";
import fc from "fast-check";
import { headers, type Msg } from "nats";
import { expect, test } from "vitest";

/** A message as the library hands it out, with these bytes as its headers. */
function message(bytes: Uint8Array): Msg {
  return { _msg: { hdr: bytes.length }, _rdata: bytes } as unknown as Msg;
}

const name = fc.stringMatching(/^[\x21-\x39\x3b-\x7e]{1,20}$/);
/** One line, without spaces around it: those are not part of a value. */
const value = fc
  .string({ unit: "grapheme", maxLength: 40 })
  .map((text) => text.replaceAll(/[\r\n]/g, "").trim());
const entries = fc.array(fc.tuple(name, value), { minLength: 1, maxLength: 8 });

test("reads what the library writes, as the library reads it", () => {
  fc.assert(
    fc.property(entries, (all) => {
      const theirs = headers();
      for (const [key, text] of all) theirs.append(key, text);
      const found = quickHeaders(message(new TextEncoder().encode(String(theirs))));
      if (found === undefined || found === "malformed") return expect.unreachable();
      for (const [key] of all) expect(found.get(key)).toBe(theirs.get(key));
    }),
  );
});

test("reads what we write: of each name the first value", () => {
  fc.assert(
    fc.property(entries, (all) => {
      const block = headerBlock(all) as unknown as { encode(): Uint8Array };
      const found = quickHeaders(message(block.encode()));
      const first = new Map([...all].reverse());
      if (found === undefined || found === "malformed") return expect.unreachable();
      expect(new Map(found)).toEqual(first);
    }),
  );
});

test("bytes of any kind are headers, none, or malformed, and never an exception", () => {
  const soup = fc.oneof(
    fc.uint8Array({ maxLength: 100 }),
    fc
      .array(fc.constantFrom("NATS/1.0", "\r\n", ":", " ", "a", "\n", "\0", "é"), { maxLength: 30 })
      .map((parts) => new TextEncoder().encode(parts.join(""))),
  );
  fc.assert(
    fc.property(soup, (bytes) => {
      const found = quickHeaders(message(bytes));
      if (found === undefined || found === "malformed") return;
      for (const [key, text] of found) {
        expect(key).toMatch(/^[\x21-\x39\x3b-\x7e]+$/);
        expect(String(text)).not.toContain("\r\n");
      }
    }),
  );
});
