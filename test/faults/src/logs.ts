/** What the processes of a mesh logged that a person should look at. */
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { looseValue } from "@swarm-mesh/protocol";
import { z } from "zod";

/** Lines of one process that say the same. */
export interface LogTrouble {
  readonly process: string;
  /** `error: reset failed`, or a line of text that is no log line: a crash. */
  readonly says: string;
  readonly times: number;
  /** The first such line, as it is. */
  readonly line: string;
}

const LINE_MAX_CHARS = 2_000;

/** A line of pino's. Levels are words, or numbers where a logger was not told otherwise. */
const LogLine = z.object({
  level: z.union([z.string(), z.number()]),
  msg: z.string().default(""),
  err: z.object({ message: z.string() }).optional().catch(undefined),
});

/** Reads every `*.log` of a directory: errors, and what is no log line at all. */
export async function readTroubles(dir: string): Promise<readonly LogTrouble[]> {
  const troubles: LogTrouble[] = [];
  for (const name of (await readdir(dir)).sort()) {
    if (name.endsWith(".log")) troubles.push(...(await troublesOf(join(dir, name))));
  }
  return troubles;
}

async function troublesOf(path: string): Promise<readonly LogTrouble[]> {
  const process = basename(path, ".log");
  const found = new Map<string, LogTrouble>();
  for await (const line of createInterface({ input: createReadStream(path) })) {
    const says = process === "nats-server" ? serverTrouble(line) : lineTrouble(line);
    if (says === undefined) continue;
    const before = found.get(says);
    found.set(says, {
      process,
      says,
      times: (before?.times ?? 0) + 1,
      line: before?.line ?? line.slice(0, LINE_MAX_CHARS),
    });
  }
  return [...found.values()];
}

/** What a line of a service or node has to say, when it is trouble. */
function lineTrouble(line: string): string | undefined {
  // What is indented, as the lines of a stack, belongs to the line before it.
  if (/^(\s|$)/.test(line)) return undefined;
  const parsed = LogLine.safeParse(
    line.startsWith("{") ? looseValue(Buffer.from(line)) : undefined,
  );
  if (!parsed.success) return `no log line: ${line.slice(0, 160)}`;
  const { level, msg, err } = parsed.data;
  const bad = typeof level === "number" ? level >= 50 : level === "error" || level === "fatal";
  if (!bad) return undefined;
  return `${level}: ${msg}${err === undefined ? "" : ` (${err.message})`}`;
}

/** What a line of nats-server has to say, when it is trouble. Its warnings are many and mild. */
function serverTrouble(line: string): string | undefined {
  const said = /\[(ERR|FTL)\] (.*)/.exec(line);
  if (said === null) return /^(panic|fatal error|goroutine)\b/.test(line) ? line : undefined;
  // Without what differs from time to time.
  const text = (said[2] ?? "").replace(/^\S+ - \S+ - /, "").replace(/\d+(\.\d+)*/g, "#");
  return `${said[1]}: ${text.slice(0, 160)}`;
}
