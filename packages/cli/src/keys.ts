/** `swarmctl keys init|add`. */
import { resolve } from "node:path";
import { addNodeKey, DEFAULT_URL, prepareServerDir, seedPath } from "@swarm-mesh/server";
import type { Call } from "./call.ts";
import { nodeIdArg } from "./flags.ts";
import { pairs, print } from "./output.ts";
import { outputOf } from "./target.ts";

export interface KeysInitFlags {
  readonly dir: string;
  readonly nodes: string;
  readonly url?: string;
}

export interface KeysAddFlags {
  readonly dir: string;
  readonly publicKey?: string;
}

/** Makes the keys that are missing, the server's configuration and contexts for `nats`. */
export async function initKeys(call: Call<KeysInitFlags>): Promise<void> {
  const format = outputOf(call.globals);
  const dir = resolve(call.io.cwd, call.flags.dir);
  const nodes = call.flags.nodes.split(",").flatMap((id) => (id === "" ? [] : [nodeIdArg(id)]));
  const url = call.flags.url ?? call.globals.server ?? DEFAULT_URL;
  const { conf, publicKeys } = await prepareServerDir(dir, { nodes, url });
  print(call.io, format, { dir, conf, url, publicKeys }, () =>
    [
      pairs(Object.entries(publicKeys)),
      `\nseeds:         ${dir}/keys, for their owners alone\n`,
      `configuration: ${conf}\n`,
      `contexts:      XDG_CONFIG_HOME=${dir} nats --context admin …\n`,
    ].join(""),
  );
}

/** Adds a node's key. The server lets the node in once it has read its configuration again. */
export async function addNode(call: Call<KeysAddFlags>): Promise<void> {
  const format = outputOf(call.globals);
  const id = nodeIdArg(call.args[0] ?? "");
  const dir = resolve(call.io.cwd, call.flags.dir);
  const publicKeys = await addNodeKey(dir, id, call.flags.publicKey);
  const seed = call.flags.publicKey === undefined ? seedPath(dir, id) : null;
  print(call.io, format, { id, publicKey: publicKeys[id], seed }, () =>
    [
      `${id} is ${publicKeys[id] ?? ""}${seed === null ? "" : `, its seed is in ${seed}`}\n`,
      "let it in with SIGHUP to nats-server: kill -HUP <its pid>\n",
    ].join(""),
  );
}
