/** A command as it was called: its arguments, its flags and the global ones. */
import type { Command } from "commander";
import type { Io } from "./io.ts";
import type { GlobalFlags } from "./target.ts";

/** One command as it was typed: its own arguments and flags, and those that all commands have. */
export interface Call<Flags = object> {
  readonly io: Io;
  readonly args: readonly string[];
  readonly flags: Flags;
  readonly globals: GlobalFlags;
}

/** What a command does; a number is the status to end with, nothing is 0. */
export type Action<Flags> = (call: Call<Flags>) => Promise<number | undefined> | Promise<void>;

/** Declares a command's action. The module with the work is loaded only when the command runs. */
export type Declare = <Flags extends object = object>(
  command: Command,
  action: Action<Flags>,
) => void;

/** Flags that mean the same everywhere. They may stand before the command or after it. */
const GLOBAL_FLAGS = [
  ["-s, --server <url>", "nats-server to talk to, several separated by commas (NATS_URL)"],
  ["--nkey <file>", "file with the nkey seed that says who you are (NATS_NKEY)"],
  ["--context <name>", "context of the `nats` command to take server and key from (NATS_CONTEXT)"],
  ["--inbox <name>", "user whose inbox to hear answers on; default: the key file's name"],
  ["--timeout <duration>", "how long to try, default 5s (NATS_TIMEOUT)"],
  ["-o, --output <format>", "table, json, or jsonl for a line each; default table"],
] as const;

/** Adds the global flags to the program, where `--help` shows them. */
export function addGlobalFlags(program: Command): void {
  for (const [flags, description] of GLOBAL_FLAGS) program.option(flags, description);
}

/** Takes the global flags after the command too, but for those it has a meaning of its own for. */
export function acceptGlobalFlags(command: Command): void {
  const own = new Set(command.options.map((option) => option.long));
  for (const [flags, description] of GLOBAL_FLAGS) {
    const option = command.createOption(flags, description).hideHelp();
    if (!own.has(option.long)) command.addOption(option);
  }
}

/** The global flags of `command`: given after it, or before it. */
export function globalsOf(command: Command, own: ReadonlySet<string>): GlobalFlags {
  const chain: Command[] = [];
  for (let at: Command | null = command; at !== null; at = at.parent) chain.unshift(at);
  const values: Record<string, unknown> = {};
  for (const at of chain) {
    for (const option of at.options) {
      const name = option.attributeName();
      const value: unknown = at.getOptionValue(name);
      const declaredHere = at === command && own.has(name);
      if (!declaredHere && value !== undefined) values[name] = value;
    }
  }
  return values;
}
