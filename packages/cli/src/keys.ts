/** `swarmctl keys init`, and `add` for the server's configuration. */
import { isIPv6 } from "node:net";
import { resolve } from "node:path";
import { protectionFrom } from "@swarm-mesh/bus";
import { isoTime } from "@swarm-mesh/runtime";
import {
  addNodeKey,
  type Certificates,
  type ClusterMember,
  prepareCluster,
  prepareServerDir,
  readCertificates,
  seedPath,
} from "@swarm-mesh/server";
import type { Call } from "./call.ts";
import { CliError, Exit, usageError } from "./exit.ts";
import { nodeIdArg } from "./flags.ts";
import { type EnrolFlags, enrolNode } from "./identities.ts";
import { pairs, print } from "./output.ts";
import { outputOf } from "./target.ts";

export interface KeysInitFlags {
  readonly dir: string;
  readonly nodes: string;
  readonly url?: string;
  readonly tls?: boolean;
  readonly host?: readonly string[];
  readonly servers?: string;
}

export interface KeysAddFlags extends EnrolFlags {
  /** The server's configuration is here: the node is added to it, not to the running mesh. */
  readonly dir?: string;
}

/** Makes the keys that are missing, the server's configuration and contexts for `nats`. */
export async function initKeys(call: Call<KeysInitFlags>): Promise<void> {
  const format = outputOf(call.globals);
  const dir = resolve(call.io.cwd, call.flags.dir);
  const nodes = call.flags.nodes.split(",").flatMap((id) => (id === "" ? [] : [nodeIdArg(id)]));
  const members = serversOf(call.flags.servers);
  if (members.length > 0) await requireProtection(call, dir);
  const { conf, url, publicKeys, tls, replaced } = await prepareServerDir(dir, {
    nodes,
    url: call.flags.url ?? call.globals.server ?? urlOf(members, call.flags.tls === true),
    tls: tlsOf(call.flags, members),
  });
  const confs = members.length === 0 ? [] : await prepareCluster(dir, members);
  if (replaced !== undefined) {
    call.io.err(
      `nats-server.conf was renewed; what it was is in ${replaced}, and your own settings go into local.conf\n`,
    );
  }
  print(call.io, format, { dir, conf, confs, url, publicKeys, tls: tls ?? null }, () =>
    [
      pairs(Object.entries(publicKeys)),
      `\nseeds:         ${dir}/keys, for their owners alone\n`,
      `configuration: ${[conf, ...confs].join(", ")}\n`,
      confs.length === 0
        ? ""
        : "each server:   nats-server -c <its own>.conf, with every file beside it but keys/\n",
      `contexts:      XDG_CONFIG_HOME=${dir} nats --context admin …\n`,
      tls === undefined ? "" : tlsLines(tls, url),
    ].join(""),
  );
}

function tlsOf(
  { tls, host }: KeysInitFlags,
  members: readonly ClusterMember[],
): { readonly hosts: readonly string[] } | undefined {
  if (tls === true) {
    const named = (host ?? []).flatMap((hosts) => hosts.split(","));
    return { hosts: [...new Set([...named, ...members.map((member) => member.host)])] };
  }
  if (host === undefined) return undefined;
  throw usageError("--host names what a certificate is for: --tls makes it");
}

/**
 * Between servers goes everything that is stored, and the password by which whoever has it is one of
 * them: in the clear it goes only where somebody says that the network is their own (decision 0016).
 */
async function requireProtection({ flags, io }: Call<KeysInitFlags>, dir: string): Promise<void> {
  if (flags.tls === true || protectionFrom(io.env).allowPlaintext === true) return;
  if ((await readCertificates(dir)) !== undefined) return;
  throw new CliError(
    Exit.usage,
    "plaintext",
    "--servers without --tls: the servers would send each other their password and all that is stored in the clear. " +
      "Add --tls, or, if the network is your own, set MESH_ALLOW_PLAINTEXT=1",
  );
}

/** `nats-1=10.0.0.1,nats-2`: a server that has no host is found by its name. */
function serversOf(text: string | undefined): readonly ClusterMember[] {
  const members = (text ?? "").split(",").flatMap((one) => {
    const [name = "", host = name] = one.trim().split("=", 2);
    return name === "" ? [] : [{ name, host }];
  });
  if (members.length === 0 || members.length % 2 === 1) return members;
  const fewer = members.length - 1;
  throw usageError(
    `--servers: ${members.length} can lose no more of them than ${fewer} can: name an odd number`,
  );
}

function urlOf(members: readonly ClusterMember[], encrypted: boolean): string | undefined {
  if (members.length === 0) return undefined;
  const scheme = encrypted ? "tls" : "nats";
  return members
    .map(({ host }) => `${scheme}://${isIPv6(host) ? `[${host}]` : host}:4222`)
    .join(",");
}

function tlsLines({ hosts, until, ca }: Certificates, url: string): string {
  return [
    `certificate:   for ${hosts.join(", ")}, until ${isoTime(until).slice(0, "2027-01-31".length)}\n`,
    `to connect:    NATS_URL=${url} NATS_CA=${ca}\n`,
  ].join("");
}

/** `keys add n7`, or `keys add node n7`: in the running mesh, or with --dir in a configuration. */
export async function addNode(call: Call<KeysAddFlags>): Promise<void> {
  const [first = "", second, ...more] = call.args;
  if (more.length > 0 || (second !== undefined && first !== "node")) {
    throw usageError("one node at a time: swarmctl keys add n7");
  }
  const id = nodeIdArg(second ?? first);
  const { dir } = call.flags;
  if (dir === undefined) return enrolNode(call, id);
  if (call.flags.out !== undefined) throw usageError("--out goes without --dir");
  await addStaticNode(call, id, resolve(call.io.cwd, dir));
}

/** The server lets the node in once it has read its configuration again. */
async function addStaticNode(call: Call<KeysAddFlags>, id: string, dir: string): Promise<void> {
  const format = outputOf(call.globals);
  const publicKeys = await addNodeKey(dir, id, call.flags.publicKey);
  const seed = call.flags.publicKey === undefined ? seedPath(dir, id) : null;
  print(call.io, format, { id, publicKey: publicKeys[id], seed }, () =>
    [
      `${id} is ${publicKeys[id] ?? ""}${seed === null ? "" : `, its seed is in ${seed}`}\n`,
      "let it in with SIGHUP to nats-server: kill -HUP <its pid>\n",
    ].join(""),
  );
}
