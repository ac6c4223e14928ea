/** The command line's reference, read from the program itself. */
import { buildProgram } from "../../../packages/cli/src/program.ts";
import { FakeIo } from "../../../packages/cli/test/fake-io.ts";
import { heading, table } from "./page.ts";

type Command = ReturnType<typeof buildProgram>;

const INTRO =
  "`swarmctl <command> --help` says the same. Durations are `500ms`, `30s`, `5m`, `2h`; names are `[A-Za-z0-9_-]{1,64}`.";

/** The page, as it is written to docs/reference/cli.md. */
export function cliPage(): string {
  const program = buildProgram(new FakeIo(), () => undefined);
  const all = [...program.commands].filter((command) => command.name() !== "help");
  return [
    heading("Command line", "the program of `packages/cli`"),
    INTRO,
    "## Every command",
    "Flags that stand before the command or after it, and mean the same everywhere.",
    optionTable(program),
    fence(afterHelp(program)),
    ...all.flatMap((command) => sectionsOf(command, "swarmctl")),
  ]
    .filter((part) => part !== "")
    .join("\n\n")
    .concat("\n");
}

function sectionsOf(command: Command, parent: string): readonly string[] {
  const name = `${parent} ${command.name()}`;
  const group = command.commands.length > 0;
  const level = parent === "swarmctl" ? "##" : "###";
  return [
    `${level} ${name}`,
    sentence(command.description()),
    group ? "" : `\`${[name, ...argumentsOf(command)].join(" ")}\`${aliasesOf(command)}`,
    optionTable(command),
    fence(afterHelp(command)),
    ...command.commands.flatMap((child) => sectionsOf(child, name)),
  ];
}

function argumentsOf(command: Command): readonly string[] {
  return command.registeredArguments.map((argument) => {
    const name = argument.variadic ? `${argument.name()}…` : argument.name();
    return argument.required ? `<${name}>` : `[${name}]`;
  });
}

function aliasesOf(command: Command): string {
  const aliases = command.aliases();
  return aliases.length === 0 ? "" : `, also \`${aliases.join("`, `")}\``;
}

function optionTable(command: Command): string {
  const options = command.options.filter((option) => !option.hidden);
  if (options.length === 0) return "";
  const rows = options.map(({ flags, description, defaultValue, mandatory }) => [
    `\`${flags.replaceAll("|", "\\|")}\``,
    mandatory ? `${description}; required` : description,
    defaultValue === undefined || defaultValue === "" ? "" : `\`${String(defaultValue)}\``,
  ]);
  return table(["flag", "meaning", "default"], rows);
}

/** What `--help` says below the flags: notes and examples. */
function afterHelp(command: Command): string {
  let text = "";
  const before = command.configureOutput();
  command.configureOutput({
    ...before,
    writeOut: (part) => {
      text += part;
    },
  });
  command.outputHelp();
  command.configureOutput(before);
  const help = command.helpInformation();
  const after = text.slice(text.indexOf(help) + help.length).trim();
  // What an example is for stands beside it: as a comment, so that the line can be typed as it is.
  return after.replace(/^( *\$ \S.*?)( {2,})(\S.*)$/gm, "$1$2# $3");
}

function fence(text: string): string {
  return text === "" ? "" : `\`\`\`console\n${text}\n\`\`\``;
}

function sentence(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`.replace(/\.\.$/, ".");
}
