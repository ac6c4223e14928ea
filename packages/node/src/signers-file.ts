/**
 * The file of trusted signers, one a line:
 *
 *     # name  public key  [capabilities=<a>,<b>]  [from=<time>]  [until=<time>]
 *     ci      UABC…       capabilities=deploy     until=2027-01-31T00:00:00Z
 *
 * One name may have several keys: while their times overlap, tasks signed by either are run, and that
 * is how a key is replaced.
 */
import { BadKeyError, VerifyingKey } from "@swarm-mesh/bus";
import { isCapability } from "@swarm-mesh/protocol";
import { timeOf } from "@swarm-mesh/runtime";

/** Who may have this node run what, and when. */
export interface TrustedSigner {
  readonly name: string;
  /** The public nkey, `U…`. */
  readonly publicKey: string;
  readonly key: VerifyingKey;
  /** What it may sign; `undefined`: everything. */
  readonly capabilities: ReadonlySet<string> | undefined;
  /** Trusted from then on, in milliseconds since 1970. */
  readonly fromMs: number;
  /** Trusted before that, in milliseconds since 1970. */
  readonly untilMs: number;
}

/** Signers by their public keys. */
export type Signers = ReadonlyMap<string, TrustedSigner>;

/** A line that cannot be read; the message says which and why. */
export class SignersFileError extends Error {
  override readonly name = "SignersFileError";
  readonly code = "bad_config";
}

/** Lines read; a file with more is refused. */
const SIGNERS_MAX = 1_000;

/** Reads the file's text. Throws {@link SignersFileError}. */
export function parseSigners(text: string): Signers {
  const signers = new Map<string, TrustedSigner>();
  for (const [index, line] of text.split("\n").entries()) {
    const words = line.replace(/#.*$/, "").trim();
    if (words === "") continue;
    const signer = parseLine(words.split(/\s+/), `line ${index + 1}`);
    if (signers.has(signer.publicKey)) {
      throw new SignersFileError(`line ${index + 1}: ${signer.publicKey} is there already`);
    }
    if (signers.size >= SIGNERS_MAX) throw new SignersFileError(`more than ${SIGNERS_MAX} signers`);
    signers.set(signer.publicKey, signer);
  }
  return signers;
}

function parseLine(words: readonly string[], where: string): TrustedSigner {
  const [name = "", publicKey = "", ...rest] = words;
  if (!/^[\w.@-]{1,64}$/.test(name)) {
    throw new SignersFileError(`${where}: ${JSON.stringify(name.slice(0, 80))} is no name`);
  }
  const settings = new Map<string, string>();
  for (const word of rest) {
    const [setting = "", value = "", more] = word.split("=");
    const known = ["capabilities", "from", "until"].includes(setting);
    if (!known || value === "" || more !== undefined || settings.has(setting)) {
      throw new SignersFileError(
        `${where}: ${JSON.stringify(word.slice(0, 80))}: expected capabilities=<a>,<b>, from=<time> or until=<time>, each once`,
      );
    }
    settings.set(setting, value);
  }
  return {
    name,
    publicKey,
    key: keyOf(publicKey, where),
    capabilities: capabilitiesOf(settings.get("capabilities"), where),
    fromMs: momentOf(settings.get("from"), where) ?? Number.NEGATIVE_INFINITY,
    untilMs: momentOf(settings.get("until"), where) ?? Number.POSITIVE_INFINITY,
  };
}

function keyOf(publicKey: string, where: string): VerifyingKey {
  try {
    return new VerifyingKey(publicKey);
  } catch (error) {
    if (!(error instanceof BadKeyError)) throw error;
    throw new SignersFileError(`${where}: no public key of a signer: ${error.message}`);
  }
}

function capabilitiesOf(text: string | undefined, where: string): ReadonlySet<string> | undefined {
  if (text === undefined) return undefined;
  const all = text.split(",");
  const bad = all.find((capability) => !isCapability(capability));
  if (bad === undefined) return new Set(all);
  throw new SignersFileError(`${where}: ${JSON.stringify(bad.slice(0, 80))} is no capability`);
}

function momentOf(text: string | undefined, where: string): number | undefined {
  if (text === undefined) return undefined;
  const ms = timeOf(text);
  // A time without a zone would mean another moment on another machine.
  if (/^\d{4}-\d\d-\d\d(T[\d:.]+Z)?$/.test(text) && !Number.isNaN(ms)) return ms;
  throw new SignersFileError(
    `${where}: ${JSON.stringify(text.slice(0, 80))} is no time in UTC such as 2027-01-31 or 2027-01-31T12:00:00Z`,
  );
}
