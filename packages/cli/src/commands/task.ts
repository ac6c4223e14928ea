import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { SubmitFlags } from "../submit.ts";
import type { ListFlags } from "../task-list.ts";
import type { WaitFlags } from "../tasks.ts";
import { addFilterFlags } from "./filters.ts";
import { repeated } from "./repeated.ts";

const SUBMIT_EXAMPLES = `
The payload goes to the handler as it is: text, @file, or - for standard input; none is empty. With
--lines and --id the same file again is the same tasks, so it may be interrupted and given again.

Examples:
  $ swarmctl task submit echo '{"hello":"mesh"}' --wait
  $ swarmctl task submit wordcount @README.md --id readme-1 --lane high
  $ swarmctl task submit thumb --lines urls.txt --id night-1   a task a line: night-1-1, night-1-2, …
  $ tar c src | swarmctl task submit build - --requires zone=eu --timeout 10m
  $ swarmctl task submit deploy @release.json --sign-with ci.nk --expires 1h --wait
`;
const WAIT_EXAMPLES = `
Ends with 0 when the task succeeded, with 1 when it failed, and with 5 when it did not end in time.

Example:
  $ swarmctl task wait readme-1 --wait-timeout 10m
`;
const LIST_EXAMPLES = `
Looks through the records of all tasks that are under way or ended within a day, newest change first,
until it has found as many as --limit says. AGE counts from the submit. Tasks that wait for their first
try have no record: --status waiting shows those, oldest first, to an admin. A client's key lists by
status, capability and node alone, among the newest changes.

Examples:
  $ swarmctl task list --status failed --newer-than 1h --limit 20
  $ swarmctl task list --error timeout --capability thumb
  $ swarmctl task list --search invoice-4711 -o jsonl
  $ swarmctl task list --status waiting --older-than 10m
  $ swarmctl task list --node n1 --watch
`;

export function addTaskCommands(program: Command, declare: Declare): void {
  const task = program.command("task").description("submit tasks, look at them, cancel them");
  addSubmit(task, declare);

  const get = task
    .command("get <id>")
    .description("show a task's record")
    .addHelpText("after", "\nExample:\n  $ swarmctl task get readme-1 -o json\n");
  declare(get, async (call) => (await import("../tasks.ts")).getTask(call));

  const wait = task
    .command("wait <id>")
    .description("wait until a task has ended and print its result")
    .option("--wait-timeout <duration>", "how long to wait", "24h")
    .addHelpText("after", WAIT_EXAMPLES);
  declare<WaitFlags>(wait, async (call) => (await import("../tasks.ts")).waitForTask(call));

  const watch = task
    .command("watch <id>")
    .description("print each change of a task until it has ended")
    .addHelpText("after", "\nExample:\n  $ swarmctl task watch readme-1 -o json\n");
  declare(watch, async (call) => (await import("../tasks.ts")).watchTask(call));

  const list = addFilterFlags(
    task
      .command("list")
      .alias("ls")
      .description("list and search tasks, newest change first")
      .option(
        "--status <status>",
        "waiting, running, retrying, succeeded, failed, cancelled or rejected",
      )
      .option("--node <id>", "on this node"),
  )
    .option("--limit <count>", "most to list", "100")
    .option("-w, --watch", "print again every two seconds")
    .addHelpText("after", LIST_EXAMPLES);
  declare<ListFlags>(list, async (call) => (await import("../task-list.ts")).listTasks(call));

  const cancel = task
    .command("cancel <id>")
    .description("cancel a task: a waiting one never runs, a running one is told to stop")
    .addHelpText("after", "\nExample:\n  $ swarmctl task cancel readme-1\n");
  declare(cancel, async (call) => (await import("../tasks.ts")).cancelTask(call));
}

function addSubmit(task: Command, declare: Declare): void {
  const submit = task
    .command("submit <capability> [payload]")
    .description("submit a task")
    .option("--id <id>", "the task's id; the same id again is the same task")
    .option("--lane <lane>", "high, normal or low")
    .option("--timeout <duration>", "limit of one try, default 5m")
    .option("--max-attempts <count>", "tries in all, default 3")
    .option("--backoff <backoff>", "fixed:2s or exponential:1s:60s")
    .option("--requires <name=value>", "label that the node must have; repeatable", repeated)
    .option("--prefer <node>", "node to use if it is able")
    .option("--strategy <strategy>", "how the node is chosen, default least_loaded")
    .option("--trace <traceparent>", "W3C trace context to carry along")
    .option("--sign-with <seed file>", "sign it, for nodes that run only what trusted signers sign")
    .option(
      "--expires <duration>",
      "how long the signature is valid, retries included; default 24h",
    )
    .option("--lines <file>", "a task for each line of a file, or of - for standard input")
    .option("-w, --wait", "until it has ended, and print the result")
    .option("--wait-timeout <duration>", "how long to wait", "24h")
    .addHelpText("after", SUBMIT_EXAMPLES);
  declare<SubmitFlags>(submit, async (call) => (await import("../submit.ts")).submitTask(call));
}
