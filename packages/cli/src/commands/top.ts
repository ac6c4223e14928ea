import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { TopFlags } from "../top/top.ts";

const EXAMPLES = `
Views: overview, nodes, capabilities, tasks, events. Arrow keys or 1 to 5 choose one, / filters, enter
says why the chosen line is as it is, ? helps, q quits. When the link or the data is lost, it says so,
and how old what it shows is. Where no terminal is, it prints one picture.

Examples:
  $ swarmctl top
  $ swarmctl top --once --view capabilities
  $ swarmctl top -o json
`;

export function addTopCommand(program: Command, declare: Declare): void {
  const top = program
    .command("top")
    .description("the mesh live: nodes, slots, rates, queues, leader, failures and moves")
    .option("--once", "print one picture, as where no terminal is")
    .option("--view <view>", "of one picture this view alone")
    .addHelpText("after", EXAMPLES);
  declare<TopFlags>(top, async (call) => (await import("../top/top.ts")).showTop(call));
}
