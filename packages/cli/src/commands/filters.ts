import type { Command } from "commander";

/** Flags by which tasks and dead letters are found. */
export function addFilterFlags(command: Command): Command {
  return command
    .option("--capability <name>", "of this kind")
    .option("--older-than <age>", "submitted longer ago: 30s, 5m, 2h, 7d")
    .option("--newer-than <age>", "submitted within this time")
    .option("--error <code|text>", "an error with this code, or with this in its message")
    .option("--search <text>", "with this anywhere: id, payload or result, error, node");
}
