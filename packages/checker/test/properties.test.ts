import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { HistoryLine, LineOf } from "../src/mod.ts";
import { line, record, T0, violationsOf } from "./lines.ts";
import { randomHistory } from "./model.ts";

const histories = fc
  .array(fc.nat({ max: 100_000 }), { minLength: 80, maxLength: 400, size: "max" })
  .map((draws) => randomHistory(draws));

test("whatever the protocol allows is clean", { timeout: 20_000 }, () => {
  fc.assert(
    fc.property(histories, (lines) => {
      expect(violationsOf(lines)).toEqual([]);
    }),
    { numRuns: 150 },
  );
});

test("a history that breaks off anywhere is clean", () => {
  fc.assert(
    fc.property(histories, fc.nat(), (lines, at) => {
      // What is there may be judged; what is missing may still come.
      const told = lines.slice(0, at % lines.length);
      expect(violationsOf(told)).toEqual([]);
    }),
    { numRuns: 75 },
  );
});

test("the order of the lines does not matter", () => {
  const shuffled = histories.chain((lines) =>
    fc.tuple(
      fc.constant(lines),
      fc.shuffledSubarray(lines, { minLength: lines.length, maxLength: lines.length }),
    ),
  );
  fc.assert(
    fc.property(shuffled, ([, lines]) => {
      expect(violationsOf(lines)).toEqual([]);
    }),
    { numRuns: 50 },
  );
});

/** A single wrong line, or a missing one; `undefined`: this history has nothing to corrupt so. */
type Corruption = (lines: readonly HistoryLine[], pick: Pick) => HistoryLine[] | undefined;
type Pick = <T>(values: readonly T[]) => T | undefined;

const ofKind = <K extends HistoryLine["what"]>(lines: readonly HistoryLine[], what: K) =>
  lines.filter((one): one is LineOf<K> => one.what === what);
const without = (lines: readonly HistoryLine[], one: HistoryLine): HistoryLine[] =>
  lines.filter((other) => other !== one);
const instead = <T extends HistoryLine>(
  lines: readonly HistoryLine[],
  one: T,
  fields: Partial<T>,
): HistoryLine[] => lines.map((other) => (other === one ? { ...one, ...fields } : other));

/** Changes of a record that come first for their revision. */
function changes(lines: readonly HistoryLine[]): LineOf<"record">[] {
  const seen = new Set<number>();
  return ofKind(lines, "record").filter((one) => {
    const first = !seen.has(one.revision);
    seen.add(one.revision);
    return first;
  });
}

/** Wrong in a record: in every line that tells of it, the last look's too. */
function inRecord(
  lines: readonly HistoryLine[],
  one: LineOf<"record">,
  fields: Partial<NonNullable<LineOf<"record">["record"]>>,
): HistoryLine[] {
  return lines.map((other) => {
    const same =
      (other.what === "record" || other.what === "record-final-look") &&
      other.revision === one.revision &&
      other.record !== null;
    return same && other.record !== null
      ? { ...other, record: { ...other.record, ...fields } }
      : other;
  });
}

const CORRUPTIONS: Readonly<Record<string, Corruption>> = {
  "a task is lost": (lines, pick) => {
    const one = pick(ofKind(lines, "acknowledged"));
    if (one === undefined) return undefined;
    return lines
      .filter((other) => !("task" in other && other.task === one.task && other !== one))
      .map((other) =>
        other.what === "waiting-at-end"
          ? { ...other, tasks: other.tasks.filter((task) => task !== one.task) }
          : other,
      );
  },
  "a final record is written over": (lines, pick) => {
    const one = pick(changes(lines).filter(({ record: of }) => of?.finishedAt != null));
    if (one?.record == null) return undefined;
    const over = { ...one.record, result: "another" };
    return [...lines, { ...one, revision: 1_000_000, previous: undefined, record: over }];
  },
  "a retry succeeds before it runs": (lines, pick) => {
    const one = pick(
      changes(lines).filter(({ record: of }) => of?.status === "retrying" && of.dueAt !== null),
    );
    if (one === undefined) return undefined;
    return inRecord(lines, one, { status: "succeeded" });
  },
  "an epoch goes back": (lines, pick) => {
    const all = changes(lines);
    const one = pick(
      all.filter((to) =>
        all.some(
          (from) =>
            from.revision < to.revision && (from.record?.epoch ?? 0) >= (to.record?.epoch ?? 0),
        ),
      ),
    );
    return one === undefined ? undefined : inRecord(lines, one, { epoch: 0 });
  },
  "an attempt is counted twice": (lines, pick) => {
    const one = pick(changes(lines).filter(({ record: of }) => of?.status === "running"));
    if (one?.record == null) return undefined;
    return inRecord(lines, one, { attempt: one.record.attempt + 1 });
  },
  "an attempt is placed on another node": (lines, pick) => {
    const one = pick(ofKind(lines, "started").filter(({ node }) => node !== undefined));
    return one === undefined ? undefined : instead(lines, one, { node: "elsewhere" });
  },
  "an attempt runs twice": (lines, pick) => {
    const one = pick(ofKind(lines, "started"));
    return one === undefined ? undefined : [...lines, { ...one, at: one.at + 5, pid: 1 }];
  },
  "an attempt runs that nobody placed": (lines, pick) => {
    const one = pick(ofKind(lines, "started"));
    return one === undefined ? undefined : [...lines, { ...one, attempt: 99 }];
  },
  "a task succeeds that did not end": (lines, pick) => {
    const one = pick(ofKind(lines, "ended").filter(({ how }) => how === "ok"));
    return one === undefined ? undefined : without(lines, one);
  },
  "a try begins again from nothing": (lines, pick) => {
    const one = pick(ofKind(lines, "started").filter(({ from }) => (from ?? 0) > 0));
    return one === undefined ? undefined : instead(lines, one, { from: 0 });
  },
  "a checkpoint goes back": (lines, pick) => {
    const one = pick(ofKind(lines, "checkpoint").filter(({ value }) => (value ?? 0) > 0));
    return one === undefined ? undefined : instead(lines, one, { value: -1 });
  },
  "a dead letter is missing": (lines, pick) => {
    const one = pick(ofKind(lines, "dead-letter"));
    return one === undefined ? undefined : without(lines, one);
  },
  "a dead letter is wrong": (lines, pick) => {
    const fine = changes(lines).filter(({ record: of }) => of?.status === "succeeded");
    const one = pick(fine);
    if (one === undefined) return undefined;
    return [...lines, line(0, "dead-letter", { task: one.task, status: "failed" })];
  },
  "a client is told something else": (lines, pick) => {
    const one = pick(ofKind(lines, "result-seen"));
    if (one === undefined) return undefined;
    const status = one.status === "cancelled" ? "failed" : "cancelled";
    return instead(lines, one, { status });
  },
  "a retry has no message": (lines) => {
    const look = ofKind(lines, "record-final-look").find(
      ({ record: of }) => of?.status === "retrying",
    );
    const waiting = ofKind(lines, "waiting-at-end")[0];
    if (look === undefined || waiting === undefined) return undefined;
    const tasks = waiting.tasks.filter((task) => task !== look.task);
    return instead(lines, waiting, { tasks });
  },
  "the last look finds another record": (lines, pick) => {
    const one = pick(ofKind(lines, "record-final-look").filter(({ record: of }) => of !== null));
    if (one?.record == null) return undefined;
    return instead(lines, one, { record: { ...one.record, result: "another" } });
  },
  "a node comes back as an older life": (lines, pick) => {
    const one = pick(ofKind(lines, "node").filter(({ incarnation }) => incarnation > 0));
    if (one === undefined) return undefined;
    return [...lines, { ...one, revision: 1_000_000, state: "JOINING", incarnation: 0 }];
  },
  "a term writes that never led": (lines, pick) => {
    const faults = ofKind(lines, "fault").map(({ at }) => at);
    const quiet = (at: number) => faults.every((fault) => fault > at || fault + 7_000 < at);
    const one = pick(changes(lines).filter(({ storedAt }) => quiet(storedAt ?? 0)));
    return one === undefined ? undefined : inRecord(lines, one, { epoch: 999_999 });
  },
  "an older term writes after a newer one": (lines) => {
    const terms = ofKind(lines, "leader-lease").map(({ holder }) => holder?.epoch ?? 0);
    const wrote = changes(lines).some(({ record: of }) => (of?.epoch ?? 0) > (terms[0] ?? 0));
    if (!wrote) return undefined;
    const late = record(0, 1_000_000, { epoch: terms[0] ?? 0 }, "late");
    return [...lines, { ...late, at: T0 + 10_000_000 }];
  },
  "a result that was stale stands": (lines, pick) => {
    const answer = pick(
      ofKind(lines, "answered").filter(({ ok, answer: of }) => ok && of !== "stale"),
    );
    return answer === undefined ? undefined : instead(lines, answer, { answer: "stale" });
  },
};

describe("a single corruption is caught", () => {
  test.each(Object.entries(CORRUPTIONS))("%s", (_, corrupt) => {
    fc.assert(
      fc.property(histories, fc.nat(), (lines, seed) => {
        const broken = corrupt(lines, (values) => values[seed % Math.max(1, values.length)]);
        // A history without what is to be corrupted is not counted: another one is drawn.
        fc.pre(broken !== undefined);
        expect(violationsOf(broken)).not.toEqual([]);
      }),
      { numRuns: 10 },
    );
  });
});
