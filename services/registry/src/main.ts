#!/usr/bin/env node
import { mainOf } from "@swarm-mesh/process";
import { registry } from "./service.ts";

await mainOf(registry, "Knows the nodes: lets them join and leave, and keeps their records.");
