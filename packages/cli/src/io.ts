/** What a command knows of the terminal and the process it runs in; a test brings its own. */
import { homedir } from "node:os";
import { buffer } from "node:stream/consumers";

export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly home: string;
  /** Colours and redrawing are for people at a terminal. */
  readonly colour: boolean;
  readonly terminal: boolean;
  /** Writes to standard output; a line ends where the text says so. */
  out(text: string): void;
  err(text: string): void;
  readStdin(): Promise<Uint8Array>;
  /** Aborts at the first Ctrl-C; the second one ends the process at once. */
  interrupted(): AbortSignal;
}

/** The terminal and the process we are in. */
export function processIo(): Io {
  const { env, stdout } = process;
  // A reader that has gone, as in `swarmctl task list | head`, is no failure of ours.
  stdout.on("error", (error: NodeJS.ErrnoException) =>
    process.exit(error.code === "EPIPE" ? 0 : 1),
  );
  const terminal = stdout.isTTY === true;
  return {
    env,
    cwd: process.cwd(),
    home: homedir(),
    terminal,
    colour: terminal && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb",
    out: (text) => void stdout.write(text),
    err: (text) => void process.stderr.write(text),
    readStdin: async () => buffer(process.stdin),
    interrupted: onceInterrupted(),
  };
}

/** Handlers are set at the first call: a command that never asks ends by Ctrl-C as any program. */
function onceInterrupted(): () => AbortSignal {
  let stop: AbortController | undefined;
  return () => {
    if (stop !== undefined) return stop.signal;
    const controller = new AbortController();
    stop = controller;
    const onSignal = (): void => {
      if (controller.signal.aborted) process.exit(130);
      controller.abort();
    };
    process.on("SIGINT", onSignal);
    process.on("SIGTERM", onSignal);
    return controller.signal;
  };
}
