#!/usr/bin/env node
import { mainOf } from "@swarm-mesh/process";
import { authenticator } from "./service.ts";

await mainOf(authenticator, "Says who may connect, and cuts who no longer may.");
