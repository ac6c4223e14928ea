import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { DeadListFlags } from "../dead.ts";
import type { DeadPurgeFlags, DeadRetryFlags } from "../dead-redrive.ts";
import { addFilterFlags } from "./filters.ts";

const LIST_EXAMPLES = `
--group counts them by error code and by what their messages have in common.

Examples:
  $ swarmctl dead list --newer-than 1h --limit 10
  $ swarmctl dead list --group
  $ swarmctl dead list --error disk_full --capability thumb -o jsonl
`;
const RETRY_EXAMPLES = `
Each task is submitted again as it was, under a new id: that of the task it comes from, and the place of
its letter (t1-r17), because the old id has ended for good. A letter goes when its task is stored again.
So the command may be interrupted, or killed, and given again: no task is lost, and none runs twice.
Of tasks that are named and have no letter, as when it was retried, that is said; the others are retried,
and the command ends with status 3.

Examples:
  $ swarmctl dead retry readme-1
  $ swarmctl dead retry --error disk_full --dry-run          what would run again
  $ swarmctl dead retry --error disk_full --rate 50/s
  $ swarmctl dead retry --capability thumb --to thumb2       with another handler
`;
const PURGE_EXAMPLES = `
Asks before it deletes; where nobody can be asked, --yes is needed.

Examples:
  $ swarmctl dead purge --older-than 7d --dry-run
  $ swarmctl dead purge --error bad_header --yes
`;

export function addDeadCommands(program: Command, declare: Declare): void {
  const dead = program.command("dead").description("tasks that were given up");

  const list = addFilterFlags(
    dead
      .command("list")
      .alias("ls")
      .description("list dead letters, newest first, or count them by how they ended")
      .option("--group", "by error code and message")
      .option("--status <status>", "failed or rejected")
      .option("--node <id>", "with a try on this node"),
  )
    .option("--limit <count>", "most to list", "50")
    .addHelpText("after", LIST_EXAMPLES);
  declare<DeadListFlags>(list, async (call) => (await import("../dead.ts")).listDead(call));

  const show = dead
    .command("show <task>")
    .alias("get")
    .description("show a dead letter: headers, body, every try and its error")
    .addHelpText("after", "\nExample:\n  $ swarmctl dead show readme-1 -o json\n");
  declare(show, async (call) => (await import("../dead.ts")).showDead(call));

  const retry = addMany(
    dead.command("retry [task...]").description("submit dead tasks again, under new ids"),
  )
    .option("--rate <rate>", "at most so many: 50/s, 300/m")
    .option("--to <capability>", "another capability than before, or when a letter names none")
    .option("--sign-with <seed file>", "sign them; a signature of before was for the old id")
    .addHelpText("after", RETRY_EXAMPLES);
  declare<DeadRetryFlags>(retry, async (call) =>
    (await import("../dead-redrive.ts")).retryDead(call),
  );

  const purge = addMany(dead.command("purge [task...]").description("delete dead letters for good"))
    .option("-y, --yes", "without being asked")
    .addHelpText("after", PURGE_EXAMPLES);
  declare<DeadPurgeFlags>(purge, async (call) =>
    (await import("../dead-redrive.ts")).purgeDead(call),
  );
}

/** Flags of what is done to many letters. */
function addMany(command: Command): Command {
  return addFilterFlags(
    command
      .option("--all", "every dead letter there is")
      .option("--status <status>", "failed or rejected")
      .option("--node <id>", "with a try on this node"),
  )
    .option("--limit <count>", "at most so many, the oldest first")
    .option("-n, --dry-run", "say what would be done, and do nothing")
    .option("--reason <text>", "why, for those who ask");
}
