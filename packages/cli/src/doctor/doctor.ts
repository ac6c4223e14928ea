/** `swarmctl doctor`: what the mesh can bear to lose, and what is wrong with it. */
import { type Clock, systemClock } from "@swarm-mesh/runtime";
import type { Call } from "../call.ts";
import { Exit } from "../exit.ts";
import { type Colour, type Paint, print } from "../output.ts";
import { withSession } from "../session.ts";
import type { Facts, Finding, Level } from "./facts.ts";
import { gather } from "./gather.ts";
import { keyFindings, nodeFindings, serviceFindings, storeFindings } from "./mesh.ts";
import { clockFindings, durabilityFindings, mayBeElecting, serverFindings } from "./servers.ts";

/** Looks at everything, prints what was found, and ends with 1 when something must be done. */
export function examine(call: Call): Promise<number> {
  return withSession(call, "admin", async (session) => {
    const findings = diagnose(await settled(() => gather(session), systemClock));
    const worst = worstOf(findings);
    print(call.io, session.format, { worst, findings }, () => report(findings, session.paint));
    return worst === "fail" ? Exit.error : Exit.ok;
  });
}

/** How long an election is waited for: one takes 4 to 9 s. */
const PATIENCE_MS = 10_000;
const LOOK_AGAIN_MS = 500;

/** The facts, and those of a later look while there may be an election: it is nothing to be mended. */
export async function settled(
  look: () => Promise<Facts>,
  clock: Pick<Clock, "elapsed" | "sleep">,
): Promise<Facts> {
  const endsAtMs = clock.elapsed() + PATIENCE_MS;
  for (;;) {
    const facts = await look();
    if (!mayBeElecting(facts) || clock.elapsed() >= endsAtMs) return facts;
    await clock.sleep(LOOK_AGAIN_MS);
  }
}

/** What is to be said about the facts, section by section. */
export function diagnose(facts: Facts): readonly Finding[] {
  return [
    ...serverFindings(facts),
    ...storeFindings(facts),
    ...durabilityFindings(facts),
    ...clockFindings(facts),
    ...serviceFindings(facts),
    ...nodeFindings(facts),
    ...keyFindings(facts),
  ];
}

const COLOURS: Readonly<Record<Level, Colour>> = {
  ok: "green",
  warn: "yellow",
  fail: "red",
  unknown: "dim",
};
const WORST_FIRST: readonly Level[] = ["fail", "warn", "unknown"];
const WIDTH = 8;

function worstOf(findings: readonly Finding[]): Level {
  return WORST_FIRST.find((level) => findings.some((one) => one.level === level)) ?? "ok";
}

function report(findings: readonly Finding[], paint: Paint): string {
  let section = "";
  const lines = findings.flatMap((finding) => {
    const head = finding.section === section ? [] : [paint("bold", finding.section)];
    section = finding.section;
    const level = paint(COLOURS[finding.level], finding.level.padEnd(WIDTH));
    const remedy = finding.remedy === undefined ? [] : [`  ${"".padEnd(WIDTH)}→ ${finding.remedy}`];
    return [...head, `  ${level}${finding.says}`, ...remedy];
  });
  const count = (level: Level): number => findings.filter((one) => one.level === level).length;
  const sum = `${count("fail")} to be mended, ${count("warn")} to be looked at, ${count("unknown")} not known`;
  return `${[...lines, "", sum].join("\n")}\n`;
}
