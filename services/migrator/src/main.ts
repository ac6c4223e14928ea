#!/usr/bin/env node
import { mainOf } from "@swarm-mesh/process";
import { migrator } from "./service.ts";

await mainOf(migrator, "Has the tasks of nodes that failed or left placed again.");
