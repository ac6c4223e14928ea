/** The tasks of a storm: drawn one after the other from its seed. */
import { Header, type Lane } from "@swarm-mesh/protocol";
import type { Random } from "@swarm-mesh/runtime";
import { between, oneOf, weighted } from "./random.ts";
import type { Work } from "./work-handler.ts";

/** A task to submit, and what a client does with it later. */
export interface TaskPlan {
  readonly id: string;
  readonly lane: Lane;
  /** Those of the submit, `Nats-Msg-Id` among them. */
  readonly headers: Readonly<Record<string, string>>;
  readonly work: Work;
  /** After the PubAck; `undefined`: it is not cancelled. */
  readonly cancelAfterMs: number | undefined;
  /** After the PubAck it is submitted once more, with the same id; `undefined`: it is not. */
  readonly againAfterMs: number | undefined;
  /** Does a client ask for the record once it is said to be final? */
  readonly asked: boolean;
}

interface Kind {
  readonly work: (random: Random) => Work;
  readonly headers?: (random: Random) => Readonly<Record<string, string>>;
  readonly cancelled?: boolean;
}

/** How often each kind is drawn, of a thousand. */
const KINDS: readonly (readonly [number, Kind])[] = [
  [790, { work: (random) => ({ steps: 1, ms: between(random, 0, 5) }) }],
  [100, { work: (random) => saving(random, 2, 8, 100) }],
  [30, { work: (random) => saving(random, 5, 25, 200) }],
  // Fails once or twice and then does not: retried by its headers.
  [
    45,
    {
      work: (random) => ({ steps: 1, ms: between(random, 0, 20), failures: between(random, 1, 2) }),
      headers: (random) => ({
        [Header.maxAttempts]: "4",
        [Header.backoff]: oneOf(random, ["fixed:500ms", "fixed:1s", "exponential:500ms:4s"]),
      }),
    },
  ],
  // Fails for good: without a word of hope, or by running out of tries.
  [5, { work: () => ({ steps: 1, ms: 1, failures: 100, final: true }) }],
  [
    5,
    {
      work: () => ({ steps: 1, ms: 1, failures: 100 }),
      headers: () => ({ [Header.maxAttempts]: "2", [Header.backoff]: "fixed:500ms" }),
    },
  ],
  // Runs into its time limit.
  [
    3,
    {
      work: () => ({ steps: 1, ms: 3_000 }),
      headers: () => ({ [Header.maxAttempts]: "1", [Header.timeout]: "500ms" }),
    },
  ],
  // A header nobody can read: rejected.
  [2, { work: () => ({ steps: 1, ms: 1 }), headers: () => ({ [Header.timeout]: "soon" }) }],
  [20, { work: (random) => saving(random, 5, 20, 200), cancelled: true }],
];
const LANES: readonly (readonly [number, Lane])[] = [
  [70, "normal"],
  [10, "high"],
  [20, "low"],
];
/** Of a hundred tasks. */
const REQUIRES_PERCENT = 5;
const PREFERS_PERCENT = 5;
const ASKED_PERCENT = 5;
const AGAIN_PERCENT = 1.5;
/** The second submit: in the server's window of duplicates, and after it, when only the record tells. */
const AGAIN_MS: readonly (readonly [number, { readonly least: number; readonly most: number }])[] =
  [
    [80, { least: 0, most: 10_000 }],
    [20, { least: 125_000, most: 140_000 }],
  ];

/** Draws task number `serial`. `nodes`: who may be preferred. */
export function drawTask(random: Random, serial: number, nodes: readonly string[]): TaskPlan {
  const kind = weighted(random, KINDS);
  const id = `t${serial}`;
  const percent = (share: number): boolean => random() * 100 < share;
  const again = weighted(random, AGAIN_MS);
  return {
    id,
    lane: weighted(random, LANES),
    work: kind.work(random),
    headers: {
      [Header.msgId]: id,
      ...kind.headers?.(random),
      ...(percent(REQUIRES_PERCENT)
        ? { [Header.requires]: `zone=${oneOf(random, ["eu", "us"])}` }
        : {}),
      ...(percent(PREFERS_PERCENT) ? { [Header.prefer]: oneOf(random, nodes) } : {}),
    },
    cancelAfterMs: kind.cancelled === true ? between(random, 0, 2_000) : undefined,
    againAfterMs: percent(AGAIN_PERCENT) ? between(random, again.least, again.most) : undefined,
    asked: percent(ASKED_PERCENT),
  };
}

/** Some steps, each of at most `maxMs` and followed by a checkpoint. */
function saving(random: Random, least: number, most: number, maxMs: number): Work {
  return {
    steps: between(random, least, most),
    ms: between(random, Math.ceil(maxMs / 2), maxMs),
    save: true,
  };
}
