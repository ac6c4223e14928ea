#!/usr/bin/env node
/** `mesh-health-monitor [--config FILE]`: the health-monitor as a process of its own. */
import { parseArgs } from "node:util";
import { runService, variableOf } from "@swarm-mesh/process";
import { healthMonitor } from "./service.ts";

const USAGE = `Usage: mesh-health-monitor [--config FILE]

Judges which nodes are alive and writes it into their records. Reads FILE (YAML or JSON), then the environment:
  ${Object.keys(healthMonitor.config.shape).map(variableOf).join("\n  ")}
NATS_URL and NATS_NKEY are read as well. What each means: docs/configuration.md
`;

try {
  const { values } = parseArgs({
    options: { config: { type: "string" }, help: { type: "boolean", short: "h" } },
  });
  if (values.help === true) process.stdout.write(USAGE);
  else await runService(healthMonitor, { configFile: values.config });
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
  process.exit(2);
}
