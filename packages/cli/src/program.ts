/** The tree of commands. Only what `--help` needs is loaded here; the work comes with the command. */
import { Command } from "commander";
import { type Action, acceptGlobalFlags, addGlobalFlags, type Declare, globalsOf } from "./call.ts";
import { addAuditCommands } from "./commands/audit.ts";
import { addCapabilityCommands } from "./commands/capability.ts";
import { addCheckCommand } from "./commands/check.ts";
import { addCompletionCommand } from "./commands/completion.ts";
import { addDashboardCommand } from "./commands/dashboard.ts";
import { addDeadCommands } from "./commands/dead.ts";
import { addDevCommand } from "./commands/dev.ts";
import { addDoctorCommand } from "./commands/doctor.ts";
import { addEventsCommand } from "./commands/events.ts";
import { addKeysCommands } from "./commands/keys.ts";
import { addNodeCommands } from "./commands/node.ts";
import { addServiceCommand } from "./commands/service.ts";
import { addStatusCommands } from "./commands/status.ts";
import { addTaskCommands } from "./commands/task.ts";
import { addTopCommand } from "./commands/top.ts";
import { addWhyCommand } from "./commands/why.ts";
import type { Io } from "./io.ts";
import { version } from "./version.ts";

const NOTES = `
Who and where:
  Server and key come from the flags, then NATS_URL and NATS_NKEY, then the context named by
  --context or NATS_CONTEXT. When nothing is said and a dev mesh runs in this directory
  (./.mesh/dev.json, or MESH_DIR), that one is meant: with the client's key for tasks, with the
  admin's for the rest. Else the context selected with \`nats context select\` is.

Exit status:
  0 done, 1 error, 2 usage, 3 not found, 4 conflict, 5 not in time, 6 not allowed

Examples:
  $ swarmctl dev                                     a whole mesh on this machine
  $ swarmctl task submit echo '"hi"' --wait          run a task and print its result
  $ swarmctl top                                     the mesh, live
  $ swarmctl node list --watch                       who is there
  $ swarmctl task list --status running -o json
  $ swarmctl why demo                                why a task waits, runs or failed
`;

/** Builds the program. `onEnd` is told the status of the command that ran. */
export function buildProgram(io: Io, onEnd: (status: number) => void): Command {
  const program = new Command("swarmctl")
    .description(
      "Runs and looks at a Swarm Mesh: tasks of agent swarms, spread over many machines.",
    )
    .version(version(), "-V, --version")
    .enablePositionalOptions()
    .exitOverride()
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => io.out(text),
      // Errors are printed once, by whoever called us, in the format that was asked for.
      writeErr: () => undefined,
      getOutHasColors: () => io.colour,
    })
    .addHelpText("after", NOTES);
  addGlobalFlags(program);
  const declare: Declare = <Flags extends object>(command: Command, action: Action<Flags>) => {
    const own = new Set(command.options.map((option) => option.attributeName()));
    acceptGlobalFlags(command);
    command.action(async () => {
      const args = command.processedArgs.flat().filter((arg) => typeof arg === "string");
      const globals = globalsOf(command, own);
      const status = await action({ io, args, flags: command.opts<Flags>(), globals });
      onEnd(typeof status === "number" ? status : 0);
    });
  };
  addDevCommand(program, declare);
  addTaskCommands(program, declare);
  addNodeCommands(program, declare);
  addCapabilityCommands(program, declare);
  addStatusCommands(program, declare);
  addTopCommand(program, declare);
  addDashboardCommand(program, declare);
  addWhyCommand(program, declare);
  addDoctorCommand(program, declare);
  addDeadCommands(program, declare);
  addEventsCommand(program, declare);
  addAuditCommands(program, declare);
  addServiceCommand(program, declare);
  addCheckCommand(program, declare);
  addKeysCommands(program, declare);
  addCompletionCommand(program, declare);
  return program;
}
