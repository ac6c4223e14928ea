#!/usr/bin/env node
import { parseArgs } from "node:util";
import { runService } from "@swarm-mesh/process";
import { coordinator } from "./service.ts";

const { values } = parseArgs({ options: { config: { type: "string" } } });
await runService(coordinator, { configFile: values.config });
