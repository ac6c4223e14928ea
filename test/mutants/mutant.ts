/** What a mutant is, and how it is told to the processes that become it. */
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { ScenarioName } from "./scenarios.ts";

/** One place that a mutant changes. */
export interface Patch {
  /** From the root: `services/coordinator/src/records.ts`. */
  readonly file: string;
  /**
   * What is in the file exactly once, as written and as built: without types. Where it has a space there
   * may be any, for the compiler breaks lines.
   */
  readonly find: string;
  readonly replace: string;
}

/** A bug, seeded into the built code of a mesh that the checker then watches. */
export interface Mutant {
  readonly name: string;
  /** The bug, as one would tell it. */
  readonly bug: string;
  readonly patches: readonly Patch[];
  /** Where the bug does harm. */
  readonly scenario: ScenarioName;
  /** A rule that must tell of it. Others may as well. */
  readonly caughtBy: string;
  /** Each takes a mesh and half a minute: this one is left to runs with MESH_MUTANTS=all. */
  readonly seldom?: true;
}

export const ROOT = resolve(import.meta.dirname, "..", "..");
const REGISTER = join(import.meta.dirname, "loader", "register.js");

/** What finds `find` in a text, wherever its lines are broken. */
export function patternOf(find: string): string {
  return find.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/\s+/g, "\\s+");
}

/** The environment of a process that is this mutant. */
export function environmentOf(mutant: Mutant): Record<string, string> {
  const patches = mutant.patches.map(({ file, find, replace }) => {
    const built = file.replace("/src/", "/dist/").replace(/\.ts$/, ".js");
    return { url: pathToFileURL(join(ROOT, built)).href, pattern: patternOf(find), replace };
  });
  return {
    NODE_OPTIONS: `--import ${pathToFileURL(REGISTER).href}`,
    MESH_MUTANT: JSON.stringify(patches),
  };
}
