import type { Command } from "commander";
import type { Declare } from "../call.ts";
import type { ListFlags, RevokeFlags } from "../identities.ts";
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
  $ swarmctl keys init --servers nats-1=10.0.0.1,nats-2=10.0.0.2,nats-3=10.0.0.3 --tls

Servers that talk to each other without --tls are refused, unless MESH_ALLOW_PLAINTEXT=1 says that the
network is your own.
`;
const ADD_EXAMPLES = `
The running mesh lets the node in at once, and no server is touched. Without --public-key a key is
made, and its seed kept where \`swarmctl node run\` on this machine finds it. A node that is not on
this machine better joins with a token: \`swarmctl node token\`; its seed then never travels.

With --dir the node is added to the server's own configuration there instead. The server lets it in
once it has read that again, and needs no authenticator for it. Nodes that were let in without --dir
are disconnected by that, and connect again at once; where no authenticator runs they cannot.

Examples:
  $ swarmctl keys add n7 && swarmctl node run --id n7 --handle echo=cat
  $ swarmctl keys add n7 --public-key U…            a node that keeps its seed to itself
  $ swarmctl keys add n4 --dir .mesh && kill -HUP <pid of nats-server>
`;
const REVOKE_EXAMPLES = `
The key is refused from now on, and its connection is cut at once; the node's tasks go on elsewhere. A
revoked key never comes back: the node joins again with a new one.

With --dir a node of the server's own configuration there is taken out of it.

Examples:
  $ swarmctl keys revoke n7 --reason "laptop stolen"
  $ swarmctl keys revoke n1 --dir /etc/swarm-mesh && systemctl reload swarm-mesh-nats
`;
const LIST_EXAMPLES = `
Nodes that were enrolled, revoked ones too. Those of the server's own configuration are in it for a dev
mesh, and with --dir.

Examples:
  $ swarmctl keys list
  $ swarmctl keys list --dir /etc/swarm-mesh -o json
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

/** \`swarmctl keys …\`. */
export function addKeysCommands(program: Command, declare: Declare): void {
  const keys = program.command("keys").description("make, add, revoke and list keys");

  const init = keys
    .command("init")
    .description("make a mesh's keys and the server's configuration")
    .option("--dir <dir>", "where to", ".mesh")
    .option("--nodes <ids>", "ids of nodes, separated by commas", "")
    .option("--url <url>", "address that the contexts name")
    .option(
      "--servers <name=host,…>",
      "also the configuration of a cluster of these servers; =host may be left out",
    )
    .option("--tls", "encrypt: make an authority and the server's certificate, or renew it")
    .option(
      "--host <host>",
      "name or address others connect by, for the certificate; repeatable, default this machine's name",
      repeated,
    )
    .addHelpText("after", INIT_EXAMPLES);
  declare<KeysInitFlags>(init, async (call) => (await import("../keys.ts")).initKeys(call));

  const add = keys
    .command("add <node-id...>")
    .description("let a node in")
    .option("--public-key <key>", "the node's public key, when its seed was made elsewhere")
    .option("--out <file>", "where its seed goes")
    .option("--dir <dir>", "add it to the server's configuration here instead")
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
  const revoke = keys
    .command("revoke <node-id>")
    .description("shut a node's key out, and cut its connection")
    .option("--reason <text>", "why, for people")
    .option("--dir <dir>", "take it out of the server's configuration here instead")
    .addHelpText("after", REVOKE_EXAMPLES);
  declare<RevokeFlags>(revoke, async (call) => (await import("../identities.ts")).revokeNode(call));

  const list = keys
    .command("list")
    .alias("ls")
    .description("list the keys of nodes: whose, since when, by whom, revoked when")
    .option("--dir <dir>", "with the nodes of the server's configuration here")
    .addHelpText("after", LIST_EXAMPLES);
  declare<ListFlags>(list, async (call) => (await import("../identities.ts")).listKeys(call));
}
