import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { EventsFlags } from "../events.ts";
import { repeated } from "./repeated.ts";

const EXAMPLES = `
Events are kept for seven days. Kinds of nodes' events: joined, degraded, recovered, failed, leaving,
left; of leaders': elected, resigned, lost. Who follows misses none, also while the server is away.

Examples:
  $ swarmctl events --since 1h
  $ swarmctl events -f
  $ swarmctl events -f --kind failed,left -o jsonl
  $ swarmctl events --node n3 --since 2026-11-21T11:00:00Z
`;

export function addEventsCommand(program: Command, declare: Declare): void {
  const events = program
    .command("events")
    .description("what happened to nodes and leaders, oldest first")
    .option("-f, --follow", "go on with what happens, until Ctrl-C")
    .option("--since <age|time>", "30m, 2d, or a time such as 2026-11-21T11:00:00Z")
    .option("--node <id>", "of this node")
    .option("--kind <kind>", "of this kind; repeatable, or separated by commas", repeated)
    .option("--limit <count>", "most of those before now; default 50, with -f 10, with --since all")
    .addHelpText("after", EXAMPLES);
  declare<EventsFlags>(events, async (call) => (await import("../events.ts")).showEvents(call));
}
