/** Does the real program know a command as a page shows it? Nothing is run. */
import { buildProgram } from "../../packages/cli/src/program.ts";
import { FakeIo } from "../../packages/cli/test/fake-io.ts";

/** The program of `swarmctl`, or one command of it. */
type Command = ReturnType<typeof buildProgram>;

/** What is no mistake of a page: `--help`, and a group named without its command. */
const FINE = ["commander.helpDisplayed", "commander.help", "commander.version"];
/** What a name in running text leaves away, or has a word in the place of. */
const LEFT_AWAY = [
  "commander.missingArgument",
  "commander.missingMandatoryOptionValue",
  "commander.optionMissingArgument",
  "commander.invalidArgument",
];

/**
 * What is wrong with `swarmctl <args>`; `undefined` when nothing is. `inPassing`: it is named in a
 * sentence, where arguments may be left away.
 */
export function problemOf(args: readonly string[], inPassing: boolean): string | undefined {
  const program = dryProgram();
  try {
    program.parse([...args], { from: "user" });
    return undefined;
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    const fine = inPassing ? [...FINE, ...LEFT_AWAY] : FINE;
    return fine.includes(String(error.code)) ? undefined : error.message.replace(/^error: /, "");
  }
}

/** The program of `swarmctl`, with every command's work taken out. */
function dryProgram(): Command {
  const program = buildProgram(new FakeIo(), () => undefined);
  const empty = (command: Command): void => {
    if (command.commands.length === 0) command.action(() => undefined);
    for (const child of command.commands) empty(child);
  };
  empty(program);
  return program;
}
