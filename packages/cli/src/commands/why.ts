import type { Command } from "commander";
import type { Declare } from "../call.ts";

const EXAMPLES = `
Looks at records, leases, queues and events, asks who is there, and changes nothing. A name alone is
taken for a task, else a node, else a capability; the answer says for which. A task that waits under
an id of its own is looked for from the front of the queue, for as long as --timeout says.

Ends with 0 when there was an answer, also when that is "never submitted", and with 3 when a name
alone is known to nobody. The admin's key sees everything; the viewer's may not read the queue nor
ask a node whether it is there, and the answer says so.

Examples:
  $ swarmctl why readme-1                    a task that does not end
  $ swarmctl why node n3                     a node that gets nothing
  $ swarmctl why capability gpu -o json      who offers it, what waits for it
`;

export function addWhyCommand(program: Command, declare: Declare): void {
  const why = program
    .command("why <task|node|capability> [name]")
    .description("why a task, a node or a capability is as it is, with the evidence")
    .addHelpText("after", EXAMPLES);
  declare(why, async (call) => (await import("../why/why.ts")).explain(call));
}
