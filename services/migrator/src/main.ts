#!/usr/bin/env node
/** `mesh-migrator [--config FILE]`: the migrator as a process of its own. */
import { parseArgs } from "node:util";
import { runService, variableOf } from "@swarm-mesh/process";
import { migrator } from "./service.ts";

const USAGE = `Usage: mesh-migrator [--config FILE]

Has the tasks of nodes that failed or left placed again. Reads FILE (YAML or JSON), then the environment:
  ${Object.keys(migrator.config.shape).map(variableOf).join("\n  ")}
NATS_URL and NATS_NKEY are read as well. What each means: docs/configuration.md
`;

try {
  const { values } = parseArgs({
    options: { config: { type: "string" }, help: { type: "boolean", short: "h" } },
  });
  if (values.help === true) process.stdout.write(USAGE);
  else await runService(migrator, { configFile: values.config });
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
  process.exit(2);
}
