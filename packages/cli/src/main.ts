/** `swarmctl`: parses, runs, and ends with a status that scripts can rely on. */
import { CommanderError } from "commander";
import { type Ending, Exit, endingOf } from "./exit.ts";
import { type Io, processIo } from "./io.ts";
import { buildProgram } from "./program.ts";

/** Runs one command line and returns the status to end with. Never rejects. */
export async function run(args: readonly string[], io: Io): Promise<number> {
  let status: number = Exit.ok;
  try {
    const program = buildProgram(io, (ended) => {
      status = ended;
    });
    await program.parseAsync([...args], { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return endOfParsing(error, args, io);
    return report(endingOf(error), args, io);
  }
}

/** Runs this process's command line and ends the process. */
export async function main(): Promise<void> {
  const status = await run(process.argv.slice(2), processIo());
  process.exitCode = status;
  // Whatever a handler or a connection left behind must not keep the process; what was printed
  // must be written out before it ends.
  process.stdout.write("", () => process.stderr.write("", () => process.exit(status)));
}

/** Commander throws for `--help` and `--version` too. */
function endOfParsing(error: CommanderError, args: readonly string[], io: Io): number {
  if (error.exitCode === 0) return Exit.ok;
  const help = "`swarmctl --help` lists the commands, `swarmctl <command> --help` explains one";
  if (error.code === "commander.help") {
    return report({ status: Exit.usage, code: "usage", message: `no command; ${help}` }, args, io);
  }
  const message = error.message.replace(/^error: /, "").replaceAll("\n", " ");
  return report({ status: Exit.usage, code: "usage", message: `${message}; ${help}` }, args, io);
}

function report(ending: Ending, args: readonly string[], io: Io): number {
  const { status, code, message } = ending;
  io.err(
    wantsJson(args)
      ? `${JSON.stringify({ error: { code, message, status } })}\n`
      : `swarmctl: ${message}\n`,
  );
  return status;
}

/** Read from the words themselves, because the error may be that they could not be parsed. */
function wantsJson(args: readonly string[]): boolean {
  return args.some((arg, index) => {
    if (/^(-o|--output=)jsonl?$/.test(arg)) return true;
    return (arg === "-o" || arg === "--output") && /^jsonl?$/.test(args[index + 1] ?? "");
  });
}
