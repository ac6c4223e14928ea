import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { CheckFlags } from "../check.ts";

const EXAMPLES = `
A history says in lines of JSON what a mesh did, as seen from outside:

  {"at":1790000000101,"by":"client","what":"acknowledged","task":"t1"}
  {"at":1790000000103,"by":"bucket","what":"record","task":"t1","revision":7,"record":{…}}
  {"at":1790000000105,"by":"n2","what":"started","task":"t1","attempt":1,"pid":4711}

README.md of packages/checker has every kind of line and every rule; npm run faults writes such a
history. Several files are one history; their lines may be in any order. - is standard input. Nothing
is concluded from a line that is missing, unless a line "watching" says that its kind was followed.

Ends with 0 when nothing is wrong, with 1 when a rule is broken, and with 2 when a line is none; the
message names file and line.

Examples:
  $ swarmctl check history.jsonl
  $ swarmctl check client.jsonl n1.jsonl n2.jsonl
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
