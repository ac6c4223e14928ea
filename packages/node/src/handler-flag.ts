/** `--handle` of the command line: a capability and what serves it. */
import { Capability, check } from "@swarm-mesh/protocol";
import { SetupError } from "./agents.ts";
import type { TaskHandler } from "./handler.ts";
import { moduleHandler } from "./module-handler.ts";
import { programHandler } from "./program.ts";

const MODULE_PREFIX = "module:";
const EXAMPLE = 'as in wordcount="wc -w" or thumb=module:./thumb.js';

/** Reads `capability=command` or `capability=module:file`. Throws {@link SetupError}. */
export function parseHandlerFlag(flag: string): {
  readonly capability: string;
  readonly handler: TaskHandler;
} {
  const split = flag.indexOf("=");
  if (split < 0) {
    throw new SetupError(
      `${JSON.stringify(flag)} has no "=": expected <capability>=<command>, ${EXAMPLE}`,
    );
  }
  const capability = flag.slice(0, split).trim();
  const what = flag.slice(split + 1).trim();
  const named = check(Capability, capability);
  if (!named.ok) throw new SetupError(`${JSON.stringify(capability)}: ${named.problem}`);
  if (!what.startsWith(MODULE_PREFIX)) {
    if (what === "") throw new SetupError(`${capability}: no command given, ${EXAMPLE}`);
    return { capability, handler: programHandler(what) };
  }
  const file = what.slice(MODULE_PREFIX.length);
  if (file === "") throw new SetupError(`${capability}: no file given, ${EXAMPLE}`);
  return { capability, handler: moduleHandler(file) };
}
