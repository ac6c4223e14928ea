import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { DevFlags } from "../dev/dev.ts";
import { hidden } from "./hidden.ts";
import { repeated } from "./repeated.ts";

const EXAMPLES = `
Starts nats-server, the five services and the nodes, each in a process of its own, and ends them all
at Ctrl-C. Without --handle the nodes offer echo (cat), wordcount (wc -w) and count, which counts
to n and saves how far it came.

While it runs, <dir>/dev.json holds the server's address, the key files and every pid. A process
that is killed is not started again: that is what a mesh is for. Several servers are a cluster and
take the ports from --port on; any address of dev.json's url will do, and a minority may be killed.

Examples:
  $ swarmctl dev
  $ swarmctl dev --port 0 --nodes 5 --replicas 2
  $ swarmctl dev --servers 3                        any one of them may be killed
  $ swarmctl dev --handle shout="tr a-z A-Z" --handle thumb=module:./thumb.js
`;

export function addDevCommand(program: Command, declare: Declare): void {
  const dev = program
    .command("dev")
    .description("run a whole mesh on this machine")
    .option("--port <port>", "port of nats-server; 0 takes a free one", "4222")
    .option("--dir <dir>", "directory for keys, data and dev.json", ".mesh")
    .option("--nodes <count>", "nodes n1, n2, …", "3")
    .option("--slots <count>", "tasks that a node runs at once", "4")
    .option("--replicas <count>", "processes of each service", "1")
    .option("--handle <capability=command>", "what the nodes can do; repeatable", repeated)
    .option("--servers <count>", "nats-servers: 1, or a cluster of 3 or 5", "1")
    .option("--keep", "keep the tasks and records of an earlier run in the directory")
    .option("--offline", "use only a nats-server that is on this machine")
    .option(
      "--metrics-port <port>",
      "serve /metrics of each process on this port and those after it",
    )
    .option("--json-logs", "print the processes' log lines as they are")
    .addOption(hidden("--stop-with-parent"))
    .addHelpText("after", EXAMPLES);
  declare<DevFlags>(dev, async (call) => (await import("../dev/dev.ts")).devCommand(call));
}
