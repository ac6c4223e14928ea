/** `swarmctl task submit --lines`: a task for each line of a file, as fast as the store takes them. */
import { createReadStream } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import type { SubmitItem, SubmitOptions, SubmitResult } from "@swarm-mesh/client";
import type { Call } from "./call.ts";
import { CliError, Exit, usageError } from "./exit.ts";
import type { Io } from "./io.ts";
import { line, print } from "./output.ts";
import { Progress } from "./progress.ts";
import { type Session, withSession } from "./session.ts";

/** Failures that are told one by one; the rest is counted. */
const FAILURES_SHOWN = 10;

/** Submits each line that is not empty. Resolves with the status to end with. */
export async function submitLines(
  call: Call,
  name: string,
  {
    capability,
    options,
    signWith,
  }: {
    readonly capability: string;
    readonly options: SubmitOptions;
    readonly signWith: string | undefined;
  },
): Promise<number> {
  const { io } = call;
  const work = async ({ client, format }: Session): Promise<number> => {
    const signal = io.interrupted();
    const progress = new Progress(io, format, "submitted");
    const counts = { submitted: 0, before: 0, failed: 0 };
    const items = itemsOf(linesOf(io, name), { capability, options, signal });
    for await (const result of client.submitMany(items, { signal })) {
      if (result.kind === "failed") {
        counts.failed++;
        if (counts.failed <= FAILURES_SHOWN && format === "table") {
          progress.clear();
          io.err(`swarmctl: line ${result.index + 1}: ${result.error.message}\n`);
        }
      } else {
        counts.submitted++;
        if (result.duplicate) counts.before++;
      }
      if (format === "jsonl") io.out(line(resultOf(result)));
      const note = counts.failed === 0 ? "" : `${counts.failed} failed`;
      progress.tell({ done: counts.submitted, note });
    }
    progress.clear();
    if (format !== "jsonl") print(io, format, counts, () => countsText(counts));
    return counts.failed === 0 && !signal.aborted ? Exit.ok : Exit.error;
  };
  return withSession(call, "client", work, { signWith });
}

function countsText({
  submitted,
  before,
  failed,
}: Record<"submitted" | "before" | "failed", number>) {
  const also = before === 0 ? "" : `, ${before} of them once before`;
  return `${submitted} submitted${also}${failed === 0 ? "" : `, ${failed} failed`}\n`;
}

function resultOf(result: SubmitResult): object {
  const { index, id } = result;
  return result.kind === "failed"
    ? { line: index + 1, id, error: { code: result.error.code, message: result.error.message } }
    : { line: index + 1, id, duplicate: result.duplicate };
}

/** An id of the caller's becomes one for each line, so that the same file again is the same tasks. */
async function* itemsOf(
  lines: AsyncIterable<string>,
  {
    capability,
    options,
    signal,
  }: {
    readonly capability: string;
    readonly options: SubmitOptions;
    readonly signal: AbortSignal;
  },
): AsyncGenerator<SubmitItem> {
  const { id, ...rest } = options;
  let number = 0;
  for await (const payload of lines) {
    number++;
    if (signal.aborted) return;
    if (payload === "") continue;
    yield { ...rest, capability, payload, ...(id === undefined ? {} : { id: `${id}-${number}` }) };
  }
}

async function* linesOf(io: Pick<Io, "cwd" | "stdin">, name: string): AsyncGenerator<string> {
  const input = name === "-" ? io.stdin() : createReadStream(resolve(io.cwd, name));
  try {
    yield* createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CliError(Exit.notFound, "not_found", `the lines cannot be read: ${reason}`);
  }
}

/** What cannot be meant together with `--lines`. */
export function checkLinesFlags(payload: string | undefined, wait: boolean): void {
  if (payload !== undefined) throw usageError("--lines and a payload exclude each other");
  if (wait)
    throw usageError("--lines does not wait; `swarmctl task list` shows what became of them");
}
