import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { ReasonFlags } from "../cordon.ts";
import type { TokenFlags } from "../identities.ts";
import type { NodeRunFlags } from "../node-run.ts";
import type { DrainFlags, NodeListFlags } from "../nodes.ts";
import { hidden } from "./hidden.ts";
import { repeated } from "./repeated.ts";

const RUN_EXAMPLES = `
A handler is a program, which gets the task's payload on standard input and whose output is the
result, or a module: <capability>=module:<file>, whose default export is the handler.

SIGTERM or Ctrl-C drains: nothing new is taken, running tasks may finish until the deadline and are
handed back after it. The second one ends the process at once; nothing is lost by that either.

With --token the node joins a mesh that does not know its key: the key is made here when there is none,
in --nkey FILE or among your settings, and the token lets it in, once. Later starts need no token.

A key that was revoked, and a token that is not good, end it with status 6 and one line that says so.

Examples:
  $ swarmctl node run --id n7 --token mesh_… --handle wordcount="wc -w"
  $ swarmctl node run --id n1 --nkey .mesh/keys/n1.nk --handle wordcount="wc -w"
  $ swarmctl node run --id gpu1 --slots 2 --label gpu=a100 --handle thumb=module:./thumb.js
  $ swarmctl node run --id n2 --handle deploy=./deploy.sh --trust signers --require-signed deploy
`;
const TOKEN_EXAMPLES = `
Prints the token and nothing else. It is good for one node, once, for as long as --ttl says by the
server's clock; the mesh keeps its hash alone. With --id it is good for that node's id only.

Examples:
  $ swarmctl node token --ttl 10m
  $ TOKEN=$(swarmctl node token --ttl 1h --id n7)
`;
const LIST_EXAMPLES = `
Examples:
  $ swarmctl node list --watch
  $ swarmctl node list --capability wordcount --label zone=eu -o json
`;
const CORDON_EXAMPLES = `
It keeps the tasks it has and stays in the mesh; nothing new is given to it, in this life and in later
ones, until it is uncordoned. To have it finish and leave as well, drain it.

Examples:
  $ swarmctl node cordon n1 --reason "disk is being replaced"
  $ swarmctl node uncordon n1
`;
const DRAIN_EXAMPLES = `
Example:
  $ swarmctl node drain n1 --deadline 1m --wait
`;

export function addNodeCommands(program: Command, declare: Declare): void {
  const node = program
    .command("node")
    .description("run a node; look at nodes, cordon and drain them");

  const run = node
    .command("run")
    .description("run a node in this process")
    .requiredOption("--id <id>", "the node's id; the key must be that node's")
    .option("--token <token>", "join token, for a key that the mesh does not know yet")
    .option("--slots <count>", "tasks at once", "4")
    .option("--handle <capability=command>", "what it can do; repeatable", repeated)
    .option("--label <name=value>", "what it says of itself; repeatable", repeated)
    .option("--role <role>", "worker, hybrid or coordinator", "worker")
    .option("--drain-timeout <duration>", "how long running tasks may take at the end", "30s")
    .option("--metrics-port <port>", "serve /metrics, /healthz and /readyz; MESH_HTTP_PORT")
    .option("--trust <file>", "file of trusted signers: a bad signature is refused")
    .option(
      "--require-signed <capability>",
      "run only tasks of it that a trusted signer signed; * for all; repeatable",
      repeated,
    )
    .addOption(hidden("--stop-with-parent"))
    .addHelpText("after", RUN_EXAMPLES);
  declare<NodeRunFlags>(run, async (call) => (await import("../node-run.ts")).runNode(call));

  addTokenCommand(node, declare);

  const list = node
    .command("list")
    .alias("ls")
    .description("list nodes")
    .option("--capability <name>", "active nodes that offer it")
    .option("--label <name=value>", "active nodes that have it; repeatable", repeated)
    .option("-w, --watch", "print again every two seconds")
    .addHelpText("after", LIST_EXAMPLES);
  declare<NodeListFlags>(list, async (call) => (await import("../nodes.ts")).listNodes(call));

  const get = node
    .command("get <id>")
    .description("show one node's record")
    .addHelpText("after", "\nExample:\n  $ swarmctl node get n1 -o json\n");
  declare(get, async (call) => (await import("../nodes.ts")).getNode(call));

  const cordon = node
    .command("cordon <id>")
    .description("give a node nothing new, until it is uncordoned; it keeps its tasks")
    .option("--reason <text>", "why, for those who ask")
    .addHelpText("after", CORDON_EXAMPLES);
  declare<ReasonFlags>(cordon, async (call) =>
    (await import("../cordon.ts")).cordonNode(call, true),
  );

  const uncordon = node
    .command("uncordon <id>")
    .description("give a node work again")
    .option("--reason <text>", "why, for those who ask")
    .addHelpText("after", "\nExample:\n  $ swarmctl node uncordon n1\n");
  declare<ReasonFlags>(uncordon, async (call) =>
    (await import("../cordon.ts")).cordonNode(call, false),
  );

  const drain = node
    .command("drain <id>")
    .description("have a node take nothing new, finish and leave")
    .option("--deadline <duration>", "how long running tasks may take", "30s")
    .option("--wait", "until it has left")
    .option("--reason <text>", "why, for those who ask")
    .addHelpText("after", DRAIN_EXAMPLES);
  declare<DrainFlags>(drain, async (call) => (await import("../nodes.ts")).drainNode(call));
}

function addTokenCommand(node: Command, declare: Declare): void {
  const token = node
    .command("token")
    .description("make a token that lets one new node in")
    .option("--ttl <duration>", "how long it is good", "10m")
    .option("--id <id>", "the only node it is good for")
    .addHelpText("after", TOKEN_EXAMPLES);
  declare<TokenFlags>(token, async (call) => (await import("../identities.ts")).makeToken(call));
}
