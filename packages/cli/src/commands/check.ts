import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { CheckFlags } from "../check.ts";

const EXAMPLES = `
A history says in lines of JSON what a mesh did, as seen from outside: docs/checker.md has the kinds
of lines and the rules. Several files are one history; their lines may be in any order. - is standard
input.

Ends with 0 when nothing is wrong, with 1 when a rule is broken, and with 2 when a line is none; the
message names file and line.

Examples:
  $ swarmctl check history.jsonl
  $ zcat run-7.jsonl.gz | swarmctl check - --json
`;

export function addCheckCommand(program: Command, declare: Declare): void {
  const check = program
    .command("check <files...>")
    .description("judge a recorded history: what must never happen, and did")
    .option("--json", "the verdict as JSON, as with -o json")
    .addHelpText("after", EXAMPLES);
  declare<CheckFlags>(check, async (call) => (await import("../check.ts")).checkHistories(call));
}
