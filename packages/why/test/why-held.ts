/** Why, where operators hold work back: rows for the table of causes. */
import type { Answer, CAUSES, MeshFacts } from "../src/facts.ts";
import { whyCapability } from "../src/why-capability.ts";
import { ago, askNode, LANES, mesh, node, record, runs, waits } from "./why-facts.ts";

const BY = { by: "ada@box (admin)", at: ago(30) };
const paused = new Map([["upper", { paused: true, reason: "new model", ...BY }]]);
const cordon = { cordoned: true, reason: "", ...BY };

function askCapability(parts: Partial<MeshFacts>): Answer {
  return whyCapability({ capability: "upper", mesh: mesh(parts), lanes: LANES });
}

export const HELD_ROWS: readonly (readonly [
  (typeof CAUSES)[number],
  () => Answer,
  string,
  string?,
])[] = [
  [
    "paused",
    () => waits({ paused }),
    "t1 waits: upper is paused since 12:02:30 UTC (30s) by ada@box (admin): new model.",
    "besides: 4 of 4 slots for upper are free on n1 and n2",
  ],
  [
    "paused",
    () => waits({ paused, nodes: [] }),
    "t1 waits: upper is paused since 12:02:30 UTC (30s) by ada@box (admin): new model.",
    "besides: no node offers upper",
  ],
  [
    "paused",
    () => askCapability({ paused }),
    "upper: upper is paused since 12:02:30 UTC (30s) by ada@box (admin): new model; 1 task waits for it.",
    "`swarmctl capability resume upper` lets it go on",
  ],
  // What runs goes on, and another capability's pause is nobody's business.
  ["running", () => runs({ paused }), "t1 runs on n1/main, try 1, since 12:02:30 UTC (30s)."],
  [
    "placing",
    () => waits({ paused: new Map([["other", { paused: true, reason: "", ...BY }]]) }),
    "t1 waits, and nothing is seen that holds it: 4 of 4 slots for upper are free on n1 and n2; it should start in a moment.",
  ],
  [
    "cordoned",
    () => waits({ nodes: [node("n1", { cordon }), node("n2", { cordon })] }),
    "t1 waits: n1 and n2, all that offer upper, are cordoned.",
    "n2 is ACTIVE since 12:02:00 UTC (1m): ready; it is cordoned since 12:02:30 UTC (30s) by ada@box (admin)",
  ],
  [
    "slots_busy",
    () =>
      waits({
        nodes: [node("n1", { cordon }), node("n2")],
        running: [record({ id: "c", node: "n2" }), record({ id: "d", node: "n2" })],
      }),
    "t1 waits: all 2 slots for upper on n2 are busy (the oldest waits 40s).",
    "n1 is ACTIVE since 12:02:00 UTC (1m): ready; it is cordoned since 12:02:30 UTC (30s) by ada@box (admin)",
  ],
  [
    "cordoned",
    () => askNode([node("n1", { cordon })], { running: [record()] }),
    "n1 is ACTIVE and cordoned since 12:02:30 UTC (30s) by ada@box (admin); it keeps 1 task and is given nothing new.",
    "`swarmctl node uncordon n1` gives it work again",
  ],
];
