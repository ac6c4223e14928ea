/** What this package fails with. `code` is for programs, the message for the person at the terminal. */
export class ServerError extends Error {
  readonly code: ServerErrorCode;

  constructor(code: ServerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ServerError";
    this.code = code;
  }
}

export type ServerErrorCode =
  /** A command we ran failed, or took too long. */
  | "command-failed"
  /** A download could not be made, or was not what its checksum says. */
  | "download-failed"
  /** A source of the binary does not exist on this machine. */
  | "unavailable"
  /** A seed file is unsafe or broken, or a name is not allowed. */
  | "bad-key"
  /** The servers of a cluster are named in a way that cannot be. */
  | "bad-cluster"
  /** nats-server did not start, or did not stop. */
  | "server-failed";

/** One source of the binary that was tried, and why it gave none. */
export interface Attempt {
  readonly source: string;
  readonly problem: string;
}

/** No usable nats-server. The message is one screen: what was tried, why it failed, what to do. */
export class NatsServerNotFound extends Error {
  readonly code = "nats-server-not-found";
  readonly tried: readonly Attempt[];

  constructor(tried: readonly Attempt[], advice: readonly string[]) {
    super(
      [
        "No usable nats-server was found.",
        "",
        "Tried:",
        ...tried.map(({ source, problem }) => `  ${source.padEnd(12)} ${firstLine(problem)}`),
        "",
        "Any one of these fixes it:",
        ...advice.map((line) => `  ${line}`),
      ].join("\n"),
    );
    this.name = "NatsServerNotFound";
    this.tried = tried;
  }
}

/** What `error` says, for a line of a report. */
export function problemOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const LINE_MAX_CHARS = 160;

function firstLine(text: string): string {
  const line = text.trim().split("\n", 1)[0] ?? "";
  return line.length > LINE_MAX_CHARS ? `${line.slice(0, LINE_MAX_CHARS - 1)}…` : line;
}
