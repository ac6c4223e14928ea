import { parseArgs } from "node:util";
import type { z } from "zod";
import { variableOf } from "./config.ts";
import { runService, type ServiceDefinition } from "./run.ts";

/** `mesh-<name> [--config FILE]`: a service as a process of its own. Ends the process. */
export async function mainOf<S extends z.ZodObject>(
  definition: ServiceDefinition<S>,
  purpose: string,
): Promise<void> {
  const usage = `Usage: mesh-${definition.name} [--config FILE]

${purpose} Reads FILE (YAML or JSON), then the environment:
  ${Object.keys(definition.config.shape).map(variableOf).join("\n  ")}
NATS_URL, NATS_NKEY, NATS_CA, NATS_CERT and NATS_KEY are read as well. What each means: docs/configuration.md
`;
  try {
    const { values } = parseArgs({
      options: { config: { type: "string" }, help: { type: "boolean", short: "h" } },
    });
    if (values.help === true) process.stdout.write(usage);
    else await runService(definition, { configFile: values.config });
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    process.exit(2);
  }
}
