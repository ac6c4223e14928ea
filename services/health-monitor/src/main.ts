#!/usr/bin/env node
import { mainOf } from "@swarm-mesh/process";
import { healthMonitor } from "./service.ts";

await mainOf(healthMonitor, "Notices nodes that died, froze or struggle.");
