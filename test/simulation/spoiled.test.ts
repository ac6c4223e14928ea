/** The simulation notices wrong decisions: each is put into the services' own code, and caught. */
import { afterEach, describe, expect, test, vi } from "vitest";
import * as lifecycle from "../../services/coordinator/src/lifecycle.ts";
import type { Sabotage } from "./world.ts";

const LIFECYCLE = "../../services/coordinator/src/lifecycle.ts";
const REGISTRATION = "../../services/registry/src/registration.ts";

interface Spoiled {
  readonly what: string;
  /** The rule that must be broken. */
  readonly rule: string;
  /** The first of the seeds that are tried. */
  readonly from: number;
  /** The module that is spoiled, and what it has instead. */
  readonly instead?: readonly [path: string, functions: object];
  readonly sabotage?: Sabotage;
}

const SPOILED: readonly Spoiled[] = [
  {
    what: "a submit whose retry may not be stored yet is dropped",
    rule: "nothing acknowledged is let go of",
    from: 16,
    instead: [
      LIFECYCLE,
      {
        decideMessage: ((record, retryAttempt) => {
          if (record?.status === "retrying" && retryAttempt === undefined) return { kind: "drop" };
          return lifecycle.decideMessage(record, retryAttempt);
        }) satisfies typeof lifecycle.decideMessage,
      },
    ],
  },
  {
    what: "a leader trusts its lease too long",
    rule: "one leader at a time",
    from: 88,
    sabotage: {
      leaseClock: (clock) => ({ ...clock, elapsed: () => clock.elapsed() / 3 }),
    },
  },
  {
    what: "the outcome of an earlier try is taken for the current one's",
    rule: "result-is-of-its-attempt",
    from: 146,
    instead: [
      LIFECYCLE,
      {
        decideOutcome: ((record, fact) => {
          const outcome = { ...fact.outcome, attempt: record.attempt };
          return lifecycle.decideOutcome(record, { ...fact, node: record.node ?? "", outcome });
        }) satisfies typeof lifecycle.decideOutcome,
      },
    ],
  },
  {
    what: "a node is registered over a life that has not ended",
    rule: "nodes go along the arrows",
    from: 0,
    instead: [REGISTRATION, { decideRegistration: () => ({ kind: "join" }) }],
  },
  {
    what: "a move to another node does not count as a try of its own",
    rule: "moves-are-attempts",
    from: 25,
    instead: [
      LIFECYCLE,
      {
        started: ((submission, record, placement) => {
          const next = lifecycle.started(submission, record, placement);
          return { ...next, attempt: Math.max(1, record?.attempt ?? 1) };
        }) satisfies typeof lifecycle.started,
      },
    ],
  },
  {
    what: "messages are acknowledged before their tasks are over",
    rule: "nothing acknowledged is let go of",
    from: 0,
    sabotage: { acksAtOnce: true },
  },
  {
    what: "records are written without a look at their revision",
    rule: "records go along the arrows",
    from: 0,
    sabotage: { unfenced: true },
  },
  {
    what: "a node takes what was meant for its earlier life",
    rule: "runs-are-placed",
    from: 36,
    sabotage: {
      readHeader: (name, value, { incarnation }) =>
        name === "Mesh-Incarnation" ? String(incarnation) : value,
    },
  },
];

/** Seeds in which it must be caught. */
const SEEDS = 5;

afterEach(() => {
  vi.doUnmock(LIFECYCLE);
  vi.doUnmock(REGISTRATION);
  vi.resetModules();
});

describe("is caught", () => {
  test.each(SPOILED)("$what", { timeout: 60_000 }, async (spoiled) => {
    const { rule, from, instead, sabotage = {} } = spoiled;
    // The services' modules are loaded anew, with the spoiled one among them.
    vi.resetModules();
    if (instead !== undefined) {
      const [path, functions] = instead;
      vi.doMock(path, async (original) => ({ ...(await original<object>()), ...functions }));
    }
    const { simulate } = await import("./simulate.ts");
    const broken = new Set<string>();
    for (let seed = from; seed < from + SEEDS && !broken.has(rule); seed++) {
      const { violation } = await simulate(seed, sabotage);
      if (violation !== undefined) broken.add(violation.rule);
    }
    expect([...broken]).toContain(rule);
  });
});
