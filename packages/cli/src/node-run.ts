/** `swarmctl node run`: a node as this process's whole work. */
import { resolve } from "node:path";
import { serveStatus } from "@swarm-mesh/metrics";
import { MeshNode, parseHandlerFlag, type TrustOptions } from "@swarm-mesh/node";
import { createLogger, startTracing } from "@swarm-mesh/process";
import { NODE_SLOTS_MAX, NodeRole } from "@swarm-mesh/protocol";
import { Meters } from "@swarm-mesh/runtime";
import { ensureSeed, readSeed } from "@swarm-mesh/server";
import type { Call } from "./call.ts";
import { Exit, usageError } from "./exit.ts";
import {
  choiceFlag,
  countFlag,
  durationFlag,
  handleFlags,
  labelFlags,
  nodeIdArg,
} from "./flags.ts";
import type { Io } from "./io.ts";
import { stopWithParent, tellParent } from "./parent.ts";
import { type GlobalFlags, resolveTarget } from "./target.ts";
import { version } from "./version.ts";

export interface NodeRunFlags {
  readonly id: string;
  readonly slots: string;
  readonly handle?: readonly string[];
  readonly label?: readonly string[];
  readonly role: string;
  readonly drainTimeout: string;
  readonly trust?: string;
  readonly requireSigned?: readonly string[];
  readonly metricsPort?: string;
  readonly token?: string;
  readonly stopWithParent?: boolean;
}

/** What the flags ask for. */
export interface NodePlan {
  readonly id: string;
  readonly slots: number;
  readonly handles: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly role: NodeRole;
  readonly drainTimeoutMs: number;
  readonly trust: TrustOptions | undefined;
  /** 0: none. */
  readonly metricsPort: number;
}

/** Runs a node until it is told to drain, or ends by itself. */
export async function runNode(call: Call<NodeRunFlags>): Promise<number> {
  const plan = nodePlan(call.flags, call.io.env);
  if (call.flags.stopWithParent === true) stopWithParent();
  const stopTracing = await startTracing("node", plan.id, call.io.env);
  const meters = new Meters();
  const node = await openNode(plan, call, meters);
  if (plan.metricsPort > 0) {
    const host = call.io.env["MESH_HTTP_HOST"] || "127.0.0.1";
    const ready = (): boolean => node.phase === "active";
    await serveStatus({ port: plan.metricsPort, host, meters, ready });
  }
  const signals = drainOnSignals(node, plan.drainTimeoutMs);
  try {
    await node.start();
    tellParent("ready");
  } catch (error) {
    // Told to end before it had joined: that is what it did.
    if (!signals.told.aborted) throw error;
  }
  const failure = await node.closed;
  signals.release();
  await stopTracing();
  if (failure === undefined || signals.told.aborted) return Exit.ok;
  throw failure;
}

/** Reads the flags. Throws a usage error. */
export function nodePlan(flags: NodeRunFlags, env: Io["env"] = {}): NodePlan {
  const handles = handleFlags(flags.handle ?? []);
  if (handles.length === 0) {
    throw usageError('a node needs something to do: --handle wordcount="wc -w"');
  }
  return {
    id: nodeIdArg(flags.id),
    slots: countFlag("--slots", flags.slots, { min: 1, max: NODE_SLOTS_MAX }),
    handles,
    labels: labelFlags("--label", flags.label ?? []),
    role: choiceFlag("--role", flags.role, NodeRole.options),
    drainTimeoutMs: durationFlag("--drain-timeout", flags.drainTimeout),
    trust: trustPlan(flags),
    metricsPort: countFlag("--metrics-port", flags.metricsPort ?? (env["MESH_HTTP_PORT"] || "0"), {
      min: 0,
      max: 65_535,
    }),
  };
}

function trustPlan({ trust, requireSigned }: NodeRunFlags): TrustOptions | undefined {
  if (trust !== undefined) return { signers: trust, requireSigned: requireSigned ?? [] };
  if (requireSigned === undefined) return undefined;
  throw usageError("--require-signed needs to know whose signatures count: --trust FILE");
}

async function openNode(
  plan: NodePlan,
  call: Call<NodeRunFlags>,
  meters: Meters,
): Promise<MeshNode> {
  const { flags, io } = call;
  const { token } = flags;
  // A token lets a key in that is made here, and lasts: the next start needs no token.
  const own = { node: plan.id, make: token !== undefined };
  const target = resolveTarget(asNode(call.globals, plan.id), io, plan.id, own);
  if (token !== undefined && target.nkey !== undefined) await ensureSeed(target.nkey);
  const level = io.env["MESH_LOG_LEVEL"] || "info";
  const node = new MeshNode({
    id: plan.id,
    servers: target.servers,
    protection: target.protection,
    seed: target.nkey === undefined ? undefined : await readSeed(target.nkey),
    token,
    slots: plan.slots,
    labels: plan.labels,
    role: plan.role,
    version: version(),
    trust: plan.trust && { ...plan.trust, signers: resolve(io.cwd, plan.trust.signers) },
    log: createLogger({ service: "node", instance: plan.id, level, meters }),
    meters,
  });
  for (const flag of plan.handles) {
    const { capability, handler } = parseHandlerFlag(flag);
    node.handle(capability, handler);
  }
  return node;
}

/** A node's inbox is its own, whatever the key's file is called. */
function asNode(globals: GlobalFlags, id: string): GlobalFlags {
  return { ...globals, inbox: id };
}

/** The first signal drains, the second one ends the process: the node's lease then runs out. */
function drainOnSignals(
  node: MeshNode,
  deadlineMs: number,
): { readonly told: AbortSignal; readonly release: () => void } {
  const told = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (told.signal.aborted) process.exit(Exit.error);
    told.abort();
    void node.drain({ deadlineMs, reason: signal });
  };
  const signals = ["SIGTERM", "SIGINT"] as const;
  for (const signal of signals) process.on(signal, onSignal);
  return {
    told: told.signal,
    release: () => {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}
