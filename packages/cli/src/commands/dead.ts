import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { DeadListFlags, DeadRetryFlags } from "../dead.ts";

const RETRY_EXAMPLES = `
The task is submitted again as it was, under an id made of the old one and of its place among the
dead letters: doing this twice runs it once.

Example:
  $ swarmctl dead retry readme-1
`;

export function addDeadCommands(program: Command, declare: Declare): void {
  const dead = program.command("dead").description("tasks that were given up");

  const list = dead
    .command("list")
    .alias("ls")
    .description("list dead letters, newest first")
    .option("--limit <count>", "most to list", "50")
    .addHelpText("after", "\nExample:\n  $ swarmctl dead list --limit 10\n");
  declare<DeadListFlags>(list, async (call) => (await import("../dead.ts")).listDead(call));

  const get = dead
    .command("get <task>")
    .description("show a dead letter: headers, body, every try and its error")
    .addHelpText("after", "\nExample:\n  $ swarmctl dead get readme-1 -o json\n");
  declare(get, async (call) => (await import("../dead.ts")).getDead(call));

  const retry = dead
    .command("retry <task>")
    .description("submit a dead task again and print the new id")
    .option("--capability <name>", "when the dead letter does not tell it")
    .option("--sign-with <seed file>", "sign it; a signature of before was for the old id")
    .addHelpText("after", RETRY_EXAMPLES);
  declare<DeadRetryFlags>(retry, async (call) => (await import("../dead.ts")).retryDead(call));
}
