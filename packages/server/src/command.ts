import { execFile } from "node:child_process";
import { ServerError } from "./errors.ts";

/** Bounds what a command may print before it is stopped. */
const OUTPUT_MAX_BYTES = 16 * 1024 * 1024;

export interface CommandOptions {
  readonly timeoutMs: number;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs a program to its end and returns what it printed on standard output. No shell is involved.
 * Rejects with its last line of standard error when it fails, is missing, or outlives its time.
 */
export function runCommand(
  file: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(
      file,
      [...args],
      {
        encoding: "utf8",
        killSignal: "SIGKILL",
        maxBuffer: OUTPUT_MAX_BYTES,
        timeout: options.timeoutMs,
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        ...(options.env === undefined ? {} : { env: options.env }),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else
          reject(
            new ServerError("command-failed", reasonOf(file, error, stderr, options), {
              cause: error,
            }),
          );
      },
    );
  });
}

function reasonOf(
  file: string,
  error: Error & { killed?: boolean; code?: unknown },
  stderr: string,
  { timeoutMs }: CommandOptions,
): string {
  if (error.code === "ENOENT") return `${file} does not exist`;
  if (error.code === "EACCES") return `${file} is not executable`;
  if (error.killed === true) return `${file} did not end within ${timeoutMs} ms`;
  const lastLine = stderr.trim().split("\n").at(-1);
  return lastLine === undefined || lastLine === "" ? `${file} failed: ${error.message}` : lastLine;
}
