/** `swarmctl task submit`. */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { MeshClient, SubmitOptions } from "@swarm-mesh/client";
import { startTracing } from "@swarm-mesh/process";
import { ATTEMPTS_MAX, Lane, STRATEGIES, type TaskRecord } from "@swarm-mesh/protocol";
import type { Call } from "./call.ts";
import { CliError, Exit } from "./exit.ts";
import { choiceFlag, countFlag, durationFlag, labelFlags } from "./flags.ts";
import type { Io } from "./io.ts";
import { print } from "./output.ts";
import { type Session, withSession } from "./session.ts";
import { printEnd } from "./tasks.ts";

export interface SubmitFlags {
  readonly id?: string;
  readonly lane?: string;
  readonly timeout?: string;
  readonly maxAttempts?: string;
  readonly backoff?: string;
  readonly requires?: readonly string[];
  readonly prefer?: string;
  readonly strategy?: string;
  readonly trace?: string;
  readonly signWith?: string;
  readonly expires?: string;
  readonly lines?: string;
  readonly wait?: boolean;
  readonly waitTimeout: string;
}

/** Submits a task; with `--wait` also waits for its end and prints the result. */
export async function submitTask(call: Call<SubmitFlags>): Promise<number> {
  const [capability = "", payload] = call.args;
  const options = submitOptions(call.flags);
  const timeoutMs = durationFlag("--wait-timeout", call.flags.waitTimeout);
  const { lines } = call.flags;
  if (lines !== undefined) {
    const { checkLinesFlags, submitLines } = await import("./submit-lines.ts");
    checkLinesFlags(payload, call.flags.wait === true);
    return submitLines(call, lines, { capability, options, signWith: call.flags.signWith });
  }
  const body = await readPayload(payload, call.io);
  const { signWith } = call.flags;
  const work = async ({ client, format, paint }: Session): Promise<number> => {
    if (call.flags.wait !== true) {
      const submitted = await client.submit(capability, body, options);
      print(call.io, format, submitted, () =>
        submitted.duplicate
          ? `${submitted.id} was submitted before\n`
          : `${submitted.id} submitted\n`,
      );
      return Exit.ok;
    }
    const signal = call.io.interrupted();
    const record = await submitAndWait(client, { capability, body, options, timeoutMs, signal });
    return printEnd(record, call.io, { format, paint });
  };
  const stopTracing = await startTracing("swarmctl", String(process.pid), call.io.env);
  try {
    return await withSession(call, "client", work, { signWith });
  } finally {
    await stopTracing();
  }
}

/** What the flags ask for. The grammar of headers is the client's to check. */
export function submitOptions(flags: SubmitFlags): SubmitOptions {
  const { id, lane, timeout, maxAttempts, backoff, requires, prefer, strategy, trace, expires } =
    flags;
  return {
    ...{ id, timeout, backoff, prefer, trace, expires },
    lane: lane === undefined ? undefined : choiceFlag("--lane", lane, Lane.options),
    strategy: strategy === undefined ? undefined : choiceFlag("--strategy", strategy, STRATEGIES),
    maxAttempts:
      maxAttempts === undefined
        ? undefined
        : countFlag("--max-attempts", maxAttempts, { min: 1, max: ATTEMPTS_MAX }),
    requires: requires === undefined ? undefined : labelFlags("--requires", requires),
  };
}

/** `-` is standard input, `@file` a file, anything else itself. */
export async function readPayload(
  payload: string | undefined,
  io: Pick<Io, "cwd" | "readStdin">,
): Promise<Uint8Array | string> {
  if (payload === undefined) return "";
  if (payload === "-") return io.readStdin();
  if (!payload.startsWith("@")) return payload;
  const path = resolve(io.cwd, payload.slice(1));
  try {
    return await readFile(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CliError(Exit.notFound, "not_found", `the payload cannot be read: ${reason}`);
  }
}

interface Run {
  readonly capability: string;
  readonly body: Uint8Array | string;
  readonly options: SubmitOptions;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Any end is an answer here, not an error: the record is what is printed. */
async function submitAndWait(client: MeshClient, run: Run): Promise<TaskRecord> {
  const { capability, body, options, timeoutMs, signal } = run;
  return client.submitAndWait(capability, body, { ...options, timeoutMs, signal });
}
