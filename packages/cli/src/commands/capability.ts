import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { ReasonFlags } from "../cordon.ts";
import type { WatchFlags } from "../watching.ts";

const LIST_EXAMPLES = `
RUNNING and WAITING are the mesh's; OLDEST is how long the first of those that wait has waited. The
viewer's key may not see that.

Examples:
  $ swarmctl capability list
  $ swarmctl capability list --watch
  $ swarmctl capability list -o json
`;
const PAUSE_EXAMPLES = `
Its tasks are not given to nodes until it is resumed, whoever leads and whatever is started again.
Submits are taken, what waits goes on waiting, what runs goes on running; a running task whose node
is lost waits too. \`swarmctl why\` tells of it.

Example:
  $ swarmctl capability pause thumb --reason "the new model is broken"
`;
const RESUME_EXAMPLES = `
Example:
  $ swarmctl capability resume thumb
`;

export function addCapabilityCommands(program: Command, declare: Declare): void {
  const capability = program
    .command("capability")
    .description("kinds of work: who serves them, what waits; hold them back");

  const list = capability
    .command("list")
    .alias("ls")
    .description("list capabilities: nodes, slots, what waits in each lane and how long, paused")
    .option("-w, --watch", "print again every two seconds")
    .addHelpText("after", LIST_EXAMPLES);
  declare<WatchFlags>(list, async (call) =>
    (await import("../capabilities.ts")).listCapabilities(call),
  );

  const pause = capability
    .command("pause <capability>")
    .description("give none of its tasks to a node; they wait")
    .option("--reason <text>", "why, for those who ask")
    .addHelpText("after", PAUSE_EXAMPLES);
  declare<ReasonFlags>(pause, async (call) =>
    (await import("../cordon.ts")).pauseCapability(call, true),
  );

  const resume = capability
    .command("resume <capability>")
    .description("give its tasks to nodes again")
    .option("--reason <text>", "why, for those who ask")
    .addHelpText("after", RESUME_EXAMPLES);
  declare<ReasonFlags>(resume, async (call) =>
    (await import("../cordon.ts")).pauseCapability(call, false),
  );
}
