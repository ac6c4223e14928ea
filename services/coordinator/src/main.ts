#!/usr/bin/env node
import { mainOf } from "@swarm-mesh/process";
import { coordinator } from "./service.ts";

await mainOf(coordinator, "Routes tasks to nodes and keeps their records; one replica leads.");
