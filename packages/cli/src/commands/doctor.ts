import type { Command } from "commander";
import type { Declare } from "../call.ts";

const EXAMPLES = `
Looks at servers, streams, clocks, services, nodes and key files, and changes nothing. It says which
durability and availability are really in force: how many servers may be lost, how many copies there
are and whether they agree, what a power failure may cost. With the admin's key it asks the servers
themselves; with the viewer's, what only they can tell is told as unknown.

Ends with 1 when something is to be mended. What an election may explain is waited for, 10 s at most.

Examples:
  $ swarmctl doctor
  $ swarmctl doctor -o json | jq '.findings[] | select(.level == "fail")'
`;

export function addDoctorCommand(program: Command, declare: Declare): void {
  const doctor = program
    .command("doctor")
    .description("what the mesh can bear to lose, and what is wrong with it")
    .addHelpText("after", EXAMPLES);
  declare(doctor, async (call) => (await import("../doctor/doctor.ts")).examine(call));
}
