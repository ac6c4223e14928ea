import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { ServiceFlags } from "../service.ts";
import { hidden } from "./hidden.ts";

const EXAMPLES = `
Services: registry, coordinator, health-monitor, migrator, authenticator. Each is configured by a file, by MESH_…
variables, and by NATS_URL and NATS_NKEY; docs/configuration.md has every key. It runs until SIGTERM.

Example:
  $ NATS_NKEY=.mesh/keys/registry.nk swarmctl service registry --config registry.yaml
`;

export function addServiceCommand(program: Command, declare: Declare): void {
  const service = program
    .command("service <name>")
    .description("run one service in this process")
    .option("--config <file>", "YAML or JSON file with its configuration")
    .addOption(hidden("--stop-with-parent"))
    .addHelpText("after", EXAMPLES);
  declare<ServiceFlags>(service, async (call) => (await import("../service.ts")).runNamed(call));
}
