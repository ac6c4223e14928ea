/** How a command ends: every error becomes one line and one of these statuses, here alone. */

/** Exit statuses; scripts depend on them. */
export const Exit = {
  ok: 0,
  error: 1,
  usage: 2,
  notFound: 3,
  conflict: 4,
  timeout: 5,
  denied: 6,
} as const;
/** A status that a command may end with. */
export type ExitStatus = (typeof Exit)[keyof typeof Exit];

/** An error of the command line's own, with the status to end with. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly status: ExitStatus;
  readonly code: string;

  constructor(status: ExitStatus, code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
    this.code = code;
  }
}

/** The command line cannot be understood: status 2. */
export function usageError(message: string): CliError {
  return new CliError(Exit.usage, "usage", message);
}

/** An error as it is told: to people as one line, to programs as JSON. */
export interface Ending {
  readonly status: ExitStatus;
  readonly code: string;
  readonly message: string;
}

/** Statuses by the `code` of our packages' errors and of refusals from the mesh. */
const STATUS_OF_CODE: Readonly<Record<string, ExitStatus>> = {
  bad_request: Exit.usage,
  bad_capability: Exit.usage,
  bad_header: Exit.usage,
  bad_config: Exit.usage,
  "bad-key": Exit.usage,
  payload_too_large: Exit.usage,
  not_found: Exit.notFound,
  conflict: Exit.conflict,
  id_in_use: Exit.conflict,
  stale: Exit.conflict,
  unavailable: Exit.timeout,
  not_leader: Exit.timeout,
  timeout: Exit.timeout,
  denied: Exit.denied,
  token_unknown: Exit.denied,
  token_expired: Exit.denied,
  token_used: Exit.denied,
  unknown_key: Exit.denied,
  revoked: Exit.denied,
};

/** Statuses by the name of the NATS client's errors: loading its classes would cost every start. */
const STATUS_OF_NAME: Readonly<Record<string, ExitStatus>> = {
  AuthorizationError: Exit.denied,
  UserAuthenticationExpiredError: Exit.denied,
  PermissionViolationError: Exit.denied,
  TlsError: Exit.denied,
  TimeoutError: Exit.timeout,
  RequestError: Exit.timeout,
  JetStreamNotEnabled: Exit.timeout,
};

/** JetStream's API errors that mean something of their own. */
const STATUS_OF_API_CODE: Readonly<Record<number, ExitStatus>> = {
  10037: Exit.notFound, // no message found
  10059: Exit.notFound, // stream not found
  10071: Exit.conflict, // wrong last sequence
};

/** What to do next, where the error itself does not say it. */
const ADVICE: Readonly<Record<number, string>> = {
  [Exit.denied]: "use another key: --nkey FILE, or --context NAME",
};

/** The same for those who want to be let in and may not: what helps them is another token, or key. */
const ADVICE_OF_CODE: Readonly<Record<string, string>> = {
  token_unknown: "`swarmctl node token` makes one",
  token_expired: "`swarmctl node token` makes one",
  token_used: "`swarmctl node token` makes one",
  unknown_key: "`swarmctl node token` makes a token, `swarmctl keys add` lets a key in",
  revoked:
    "to let the node in again delete its seed, and run it with a token: `swarmctl node token`",
};

/** How to end after `error`. */
export function endingOf(error: unknown): Ending {
  if (error instanceof CliError) {
    return { status: error.status, code: error.code, message: error.message };
  }
  if (!(error instanceof Error))
    return { status: Exit.error, code: "error", message: String(error) };
  const code = codeOf(error);
  const status = statusOf(error, code);
  const advice = ADVICE_OF_CODE[code] ?? ADVICE[status];
  const message = firstLines(error.message);
  return {
    status,
    code: code === "" ? "error" : code,
    message: advice === undefined ? message : `${message}; ${advice}`,
  };
}

/** A refusal's own code says more than that there was one. */
function codeOf(error: Error): string {
  if ("refusal" in error && isCoded(error.refusal)) return error.refusal.code;
  return isCoded(error) ? error.code : "";
}

function statusOf(error: Error, code: string): ExitStatus {
  // A request that is forbidden is reported as failed; its cause says why.
  if (error.cause instanceof Error && STATUS_OF_NAME[error.cause.name] === Exit.denied) {
    return Exit.denied;
  }
  const named = STATUS_OF_NAME[error.name];
  if (named !== undefined) return named;
  if ("code" in error && typeof error.code === "number") {
    return STATUS_OF_API_CODE[error.code] ?? Exit.error;
  }
  return STATUS_OF_CODE[code] ?? Exit.error;
}

function isCoded(value: unknown): value is { readonly code: string } {
  return (
    typeof value === "object" && value !== null && "code" in value && typeof value.code === "string"
  );
}

function firstLines(text: string): string {
  return text.trim().slice(0, 4_000);
}
