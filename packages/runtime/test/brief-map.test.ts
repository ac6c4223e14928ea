import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BriefMap } from "../src/mod.ts";

describe("BriefMap", () => {
  test("holds what a Map would, in its order", () => {
    const step = fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 40 }));
    fc.assert(
      fc.property(fc.array(step, { minLength: 600, maxLength: 1_200 }), (steps) => {
        const brief = new BriefMap<number>();
        const plain = new Map<string, number>();
        const same = steps.every(([adds, key], index) => {
          const name = String(key);
          if (!adds) return brief.delete(name) === plain.delete(name);
          brief.set(name, index);
          plain.set(name, index);
          return brief.get(name) === index;
        });
        expect(same).toBe(true);
        expect([...brief]).toEqual([...plain]);
        expect([...brief.keys()]).toEqual([...plain.keys()]);
        expect([...brief.values()]).toEqual([...plain.values()]);
        expect(brief.size).toBe(plain.size);
      }),
      { numRuns: 20 },
    );
  });
});
