import fc from "fast-check";
import { expect, test } from "vitest";
import { type Submit, SubmitNotes } from "../src/submit-notes.ts";

const submit = (seq: number, more: Partial<Submit> = {}): Submit => ({
  ...{ id: `t${seq}`, capability: "echo", signer: null, seq },
  ...more,
});

test("tells of each kind how many, which, and where they are", () => {
  const notes = new SubmitNotes();
  expect(notes.empty).toBe(true);
  for (const seq of [3, 1, 2, 7]) notes.note(submit(seq));
  notes.note(submit(4, { capability: "deploy", signer: "UA" }));
  notes.note(submit(0, { id: "recovered", capability: "deploy" }));
  expect(notes.empty).toBe(false);
  expect(notes.take()).toEqual([
    {
      capability: "echo",
      signer: null,
      count: 4,
      ids: ["t3", "t1", "t2", "t7"],
      sequences: [
        [1, 3],
        [7, 7],
      ],
    },
    { capability: "deploy", signer: "UA", count: 1, ids: ["t4"], sequences: [[4, 4]] },
    { capability: "deploy", signer: null, count: 1, ids: ["recovered"], sequences: [] },
  ]);
  expect(notes.take()).toEqual([]);
});

test("counts every submit, within an entry's limits", () => {
  const some = fc.record({
    id: fc.string(),
    capability: fc.nat({ max: 60 }).map((n) => `c${n}`),
    signer: fc.constantFrom(null, "UA", "UB"),
    seq: fc.nat({ max: 100_000 }),
  });
  fc.assert(
    fc.property(fc.array(some, { maxLength: 400 }), (submits) => {
      const notes = new SubmitNotes();
      for (const one of submits) notes.note(one);
      const told = notes.take();
      expect(told.reduce((sum, { count }) => sum + count, 0)).toBe(submits.length);
      expect(told.flatMap(({ ids }) => ids).length).toBe(Math.min(submits.length, 50));
      expect(told.length).toBeLessThanOrEqual(33);
      expect(JSON.stringify(told).length).toBeLessThan(32 * 1024);
      for (const { seq } of submits.filter((one) => one.seq > 0)) {
        const runs = told.flatMap(({ sequences }) => sequences);
        expect(runs.some(([first, last]) => first <= seq && seq <= last)).toBe(true);
      }
    }),
  );
});
