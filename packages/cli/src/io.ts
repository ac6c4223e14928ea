/** What a command knows of the terminal and the process it runs in; a test brings its own. */
import { homedir } from "node:os";
import type { Readable } from "node:stream";

/** What a command has to do with the process and the person that run it. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly home: string;
  /** Colours and redrawing are for people at a terminal. */
  readonly colour: boolean;
  readonly terminal: boolean;
  /** Is standard error a terminal, where a line may be written over? */
  readonly errTerminal: boolean;
  /** Writes to standard output; a line ends where the text says so. */
  out(text: string): void;
  err(text: string): void;
  readStdin(): Promise<Uint8Array>;
  /** Standard input, for those who take it bit by bit. */
  stdin(): Readable;
  /** Asks a person, who says yes or does not; `undefined`: nobody is there to be asked. */
  confirm(question: string): Promise<boolean | undefined>;
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
    home: homeOf(),
    terminal,
    colour: terminal && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb",
    out: (text) => void stdout.write(text),
    err: (text) => void process.stderr.write(text),
    errTerminal: process.stderr.isTTY === true,
    readStdin: async () => (await import("node:stream/consumers")).buffer(process.stdin),
    stdin: () => process.stdin,
    confirm,
    interrupted: onceInterrupted(),
  };
}

/**
 * Where this user's own files are. A process may run as a user without an entry in any list, as units of
 * systemd and containers do; it has none, and looks where others of them are sent.
 */
export function homeOf(lookUp: () => string = homedir): string {
  try {
    return lookUp();
  } catch {
    return "/";
  }
}

async function confirm(question: string): Promise<boolean | undefined> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined;
  // Most commands ask nothing, and start sooner without it.
  const { createInterface } = await import("node:readline/promises");
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const said = await lines.question(`${question} [y/N] `);
    return /^y(es)?$/i.test(said.trim());
  } finally {
    lines.close();
  }
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
