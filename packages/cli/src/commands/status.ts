import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { WatchFlags } from "../watching.ts";

export function addStatusCommands(program: Command, declare: Declare): void {
  const status = program
    .command("status")
    .description("the mesh at a glance: nodes, slots, leader, tasks, dead letters, storage")
    .option("-w, --watch", "print again every two seconds")
    .addHelpText("after", "\nExamples:\n  $ swarmctl status\n  $ swarmctl status --watch\n");
  declare<WatchFlags>(status, async (call) => (await import("../status.ts")).showStatus(call));

  const leader = program
    .command("leader")
    .description("which coordinator leads, in which term, since when")
    .option("-w, --watch", "print again every two seconds")
    .addHelpText("after", "\nExample:\n  $ swarmctl leader -o json\n");
  declare<WatchFlags>(leader, async (call) => (await import("../status.ts")).showLeader(call));
}
