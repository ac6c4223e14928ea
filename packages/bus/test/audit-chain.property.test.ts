import type { AuditDeed, AuditEntry } from "@swarm-mesh/protocol";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type AuditAnchor, type AuditVerdict, AuditVerifier, sealEntry } from "../src/mod.ts";

const BY = { id: "one", at: "2026-11-21T12:00:00.000Z", by: "test" };

const deed: fc.Arbitrary<AuditDeed> = fc.record({
  action: fc.constantFrom("node.drain", "task.submitted", "key.revoked"),
  who: fc.record({ name: fc.string() }),
  target: fc.string(),
  reason: fc.string({ unit: "grapheme" }),
  details: fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 1 }), {
    maxKeys: 3,
  }) as fc.Arbitrary<Record<string, unknown>>,
});
const deeds = fc.array(deed, { minLength: 3, maxLength: 6 });

/** A trail as it is exported, line by line. */
function trailOf(all: readonly AuditDeed[]): string[] {
  let last: AuditAnchor = { seq: 0, hash: "0".repeat(64) };
  return all.map((one) => {
    const { entry, text } = sealEntry({ ...one, ...BY }, last);
    last = entry;
    return text;
  });
}

function verify(lines: readonly string[], anchor?: AuditAnchor): AuditVerdict {
  const verifier = new AuditVerifier(anchor);
  for (const text of lines) verifier.add({ text });
  return verifier.finish();
}

const headOf = (lines: readonly string[]): AuditAnchor => verify(lines).head;
const entryOf = (text: string | undefined) => JSON.parse(text ?? "") as AuditEntry;

/** The trail, and a place in it. */
const placed = deeds.chain((all) =>
  fc.record({ lines: fc.constant(trailOf(all)), at: fc.nat({ max: all.length - 1 }) }),
);

test("a trail that nobody touched is whole, and tells its head", () => {
  fc.assert(
    fc.property(deeds, (all) => {
      const lines = trailOf(all);
      const verdict = verify(lines);
      expect(verdict).toMatchObject({
        entries: all.length,
        first: 1,
        problems: [],
        problemCount: 0,
      });
      expect(verify(lines, verdict.head).problems).toEqual([]);
      // An anchor of before is one of a part of it.
      expect(verify(lines, headOf(lines.slice(0, 2))).problems).toEqual([]);
    }),
  );
});

test("a deleted entry is missing where it was", () => {
  fc.assert(
    fc.property(placed, ({ lines, at }) => {
      const left = lines.toSpliced(at, 1);
      const { problems } = verify(left, headOf(lines));
      const kind = at === lines.length - 1 ? "cut" : "missing";
      expect(problems[0]).toMatchObject({ kind, seq: at + 1 });
    }),
  );
});

test("an edited entry is found, whether its hash was made anew or not", () => {
  const edit = fc.oneof(
    fc.record({ target: fc.string() }),
    fc.record({ at: fc.constant("2026-11-21T12:00:00.001Z") }),
    fc.record({ who: fc.record({ user: fc.string() }) }),
    fc.record({ more: fc.boolean() }),
  );
  fc.assert(
    fc.property(placed, edit, fc.boolean(), ({ lines, at }, changes, anew) => {
      const before = entryOf(lines[at]);
      const { hash, seq, prev, v: _v, ...rest } = { ...before, ...changes };
      const after = anew
        ? sealEntry({ ...rest, ...BY, at: rest.at }, { seq: seq - 1, hash: prev })
        : { entry: { hash }, text: JSON.stringify({ ...before, ...changes }) };
      fc.pre(JSON.stringify({ ...before, ...changes }) !== JSON.stringify(before));
      fc.pre(!anew || after.entry.hash !== hash);
      const { problems } = verify(lines.with(at, after.text), headOf(lines));
      const last = at === lines.length - 1;
      const found = anew
        ? { kind: last ? "anchor" : "unlinked", seq: last ? seq : seq + 1 }
        : { kind: "edited", seq };
      expect(problems[0]).toMatchObject(found);
    }),
  );
});

test("any byte of any line that is changed is found", () => {
  const change = fc.record({ byte: fc.nat(), by: fc.integer({ min: 32, max: 126 }) });
  fc.assert(
    fc.property(placed, change, ({ lines, at }, { byte, by }) => {
      const text = lines[at] ?? "";
      const place = byte % text.length;
      const changed = text.slice(0, place) + String.fromCharCode(by) + text.slice(place + 1);
      fc.pre(changed !== text);
      expect(verify(lines.with(at, changed)).problemCount).toBeGreaterThan(0);
    }),
    { numRuns: 500, endOnFailure: true },
  );
});

test("entries in another order are found", () => {
  fc.assert(
    fc.property(placed, fc.nat(), ({ lines, at }, other) => {
      const to = other % lines.length;
      fc.pre(to !== at);
      const moved = lines.toSpliced(at, 1).toSpliced(to, 0, lines[at] ?? "");
      const { problems } = verify(moved);
      expect(problems[0]?.seq).toBe(Math.min(at, to) + 1);
    }),
  );
});

test("an entry put in between is found, whatever place it says it has", () => {
  fc.assert(
    fc.property(placed, deed, fc.boolean(), ({ lines, at }, more, repeats) => {
      const before = at === 0 ? { seq: 0, hash: "0".repeat(64) } : entryOf(lines[at - 1]);
      const text = repeats ? (lines[at] ?? "") : sealEntry({ ...more, ...BY }, before).text;
      fc.pre(repeats || text !== lines[at]);
      const { problems } = verify(lines.toSpliced(at, 0, text));
      expect(problems[0]).toMatchObject({ kind: "misplaced", seq: at + 1 });
    }),
  );
});

test("what was cut off the end, or off the beginning, needs an anchor", () => {
  const lines = trailOf(fc.sample(deeds, { numRuns: 1, seed: 1 })[0] ?? []);
  const head = headOf(lines);
  const short = lines.slice(0, -1);
  expect(verify(short).problems).toEqual([]);
  expect(verify(short, head).problems).toMatchObject([{ kind: "cut", seq: head.seq }]);
  const late = lines.slice(2);
  expect(verify(late).problems).toMatchObject([{ kind: "missing", seq: 1 }]);
  expect(verify(late, headOf(lines.slice(0, 2))).problems).toEqual([]);
  expect(verify(late, { seq: 2, hash: head.hash }).problems).toMatchObject([{ kind: "anchor" }]);
  // A number that JSON can say, and no writer can mean.
  const huge = (lines[1] ?? "").replace('"details":{', '"details":{"":1e999,').replace(",}", "}");
  expect(verify(lines.with(1, huge)).problems[0]).toMatchObject({ kind: "edited", seq: 2 });
  expect(verify([], head).problems).toMatchObject([{ kind: "cut" }]);
  expect(verify(["{}", ...lines.slice(1)]).problems[0]).toMatchObject({
    kind: "unreadable",
    seq: 1,
  });
});
