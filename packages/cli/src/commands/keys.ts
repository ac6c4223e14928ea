import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { KeysAddFlags, KeysInitFlags } from "../keys.ts";
import type { SignerFlags } from "../signer.ts";
import { repeated } from "./repeated.ts";

const INIT_EXAMPLES = `
Makes what is missing and keeps what is there: a seed for each service, for admin, viewer and client
and for each node in <dir>/keys, the server's configuration, and contexts for the \`nats\` command.

Examples:
  $ swarmctl keys init --nodes n1,n2,n3
  $ (cd .mesh && nats-server -c nats-server.conf)
  $ swarmctl keys init --tls --host nats.example.org --host 10.0.0.4
`;
const ADD_EXAMPLES = `
The server lets the node in once it has read its configuration again.

Examples:
  $ swarmctl keys add n4 && kill -HUP <pid of nats-server>
  $ swarmctl keys add n5 --public-key U…            a node that keeps its seed to itself
`;

const SIGNER_EXAMPLES = `
A node that is told \`--trust <file> --require-signed <capability>\` runs only what these signers sign.
Copy the file to each such node; it is read again when it changes. To replace a key, add the new one
under the same name, let both be trusted for a while, and end the old line with until=<time>.

Examples:
  $ swarmctl keys signer ci --seed ci.nk --trust signers --capability deploy
  $ swarmctl keys signer ci --seed ci-2027.nk --trust signers --from 2027-01-01
  $ swarmctl task submit deploy @release.json --sign-with ci.nk
`;

export function addKeysCommands(program: Command, declare: Declare): void {
  const keys = program.command("keys").description("make the keys of a mesh and of its nodes");

  const init = keys
    .command("init")
    .description("make a mesh's keys and the server's configuration")
    .option("--dir <dir>", "where to", ".mesh")
    .option("--nodes <ids>", "ids of nodes, separated by commas", "")
    .option("--url <url>", "address that the contexts name")
    .option("--tls", "encrypt: make an authority and the server's certificate, or renew it")
    .option(
      "--host <host>",
      "name or address others connect by, for the certificate; repeatable, default this machine's name",
      repeated,
    )
    .addHelpText("after", INIT_EXAMPLES);
  declare<KeysInitFlags>(init, async (call) => (await import("../keys.ts")).initKeys(call));

  const add = keys
    .command("add <node-id>")
    .description("add a node's key")
    .option("--dir <dir>", "where the keys are", ".mesh")
    .option("--public-key <key>", "the node's public key, when its seed was made elsewhere")
    .addHelpText("after", ADD_EXAMPLES);
  declare<KeysAddFlags>(add, async (call) => (await import("../keys.ts")).addNode(call));

  const signer = keys
    .command("signer <name>")
    .description("make a key that signs tasks, and the line by which nodes trust it")
    .requiredOption("--seed <file>", "where the seed is, or goes when there is none")
    .option(
      "--trust <file>",
      "file of trusted signers to add the line to; without it, it is printed",
    )
    .option("--capability <name>", "what it may sign, default everything; repeatable", repeated)
    .option("--from <time>", "trusted from then on, such as 2027-01-31 or 2027-01-31T12:00:00Z")
    .option("--until <time>", "trusted until then")
    .addHelpText("after", SIGNER_EXAMPLES);
  declare<SignerFlags>(signer, async (call) => (await import("../signer.ts")).makeSigner(call));
}
