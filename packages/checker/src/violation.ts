/** What a rule is, and what it finds. */
import type { Run } from "./run.ts";
import type { TaskStory } from "./story.ts";

/** Where a line stands: a source's index and a line number from 1, in one number to save memory. */
export type Place = number;

const LINES_MAX = 2 ** 40;

export function placeOf(source: number, line: number): Place {
  return source * LINES_MAX + line;
}

export function partsOf(place: Place): { readonly source: number; readonly line: number } {
  return { source: Math.floor(place / LINES_MAX), line: place % LINES_MAX };
}

/** Something that must never happen, and the lines that show it. */
export interface Finding {
  /** One sentence. */
  readonly problem: string;
  readonly places: readonly Place[];
}

interface RuleText {
  /** Kebab case, unique. */
  readonly name: string;
  /** What must hold, as people are told it. */
  readonly invariant: string;
}

/** A rule about one task at a time. Pure. */
export interface TaskRule extends RuleText {
  readonly judge: (story: TaskStory, run: Run) => readonly Finding[];
}

/** A rule about the run as a whole. Pure. */
export interface RunRule extends RuleText {
  readonly judgeRun: (run: Run) => readonly Finding[];
}
