/**
 * Whose tasks this node runs. It is told by a file of its own, not by the control plane: that is what
 * makes a signature worth something when the control plane, or a client's key, is in wrong hands.
 *
 * A task is looked at just before it would start. A question about one that runs, or has ended here,
 * starts nothing, and is answered without.
 */
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import {
  Capability,
  check,
  type ErrorCode,
  Header,
  parseRequires,
  SIGNATURE_CLOCK_SKEW_MS,
  SIGNATURE_LIFETIME_MAX_MS,
  signedText,
  type TaskSignature,
  type WireError,
  wireError,
} from "@swarm-mesh/protocol";
import { type Clock, isoTime, type Log, timeOf } from "@swarm-mesh/runtime";
import { SetupError } from "./agents.ts";
import type { Dispatch } from "./dispatch.ts";
import { Replays } from "./replays.ts";
import {
  parseSigners,
  type Signers,
  SignersFileError,
  type TrustedSigner,
} from "./signers-file.ts";

/** Whose tasks a node runs. */
export interface TrustOptions {
  /** The file of trusted signers. Read again when it changes. */
  readonly signers: string;
  /** Capabilities of which only signed tasks are run; `*`: all. Default none. */
  readonly requireSigned?: readonly string[];
}

/** Why tasks were refused for their signature, and how often. */
export interface TrustCounts {
  signature_missing: number;
  signature_invalid: number;
  signature_expired: number;
  unknown_signer: number;
  replayed: number;
}

/** What is thought of a task. `signer`: the name of who signed it, if anyone did. */
export type Verdict =
  | { readonly ok: true; readonly signer: string | undefined }
  | { readonly ok: false; readonly error: WireError };

export interface TrustDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** What the node says of itself: a signature may ask for it. */
  readonly labels: Readonly<Record<string, string>>;
  /** What the node offers. */
  readonly capabilities: readonly string[];
}

/** The file is looked at again when a task comes this much later. */
const LOOK_AGAIN_MS = 1_000;

export class Trust {
  readonly counts: TrustCounts = {
    signature_missing: 0,
    signature_invalid: 0,
    signature_expired: 0,
    unknown_signer: 0,
    replayed: 0,
  };
  readonly #file: string;
  readonly #required: ReadonlySet<string>;
  readonly #deps: TrustDeps;
  readonly #replays = new Replays();
  #signers: Signers;
  #stamp: string;
  #lookedAtMs: number;
  /** Why the file could not be read at the last look; `undefined`: it could. */
  #problem: string | undefined;

  /** Reads the file. Throws {@link SetupError} when it cannot be, or a capability is not offered. */
  constructor({ signers, requireSigned = [] }: TrustOptions, deps: TrustDeps) {
    for (const capability of requireSigned) {
      // A name that is written wrong would leave the right one unguarded.
      if (capability === "*" || deps.capabilities.includes(capability)) continue;
      const problem = check(Capability, capability).ok ? "is not offered" : "is no capability";
      throw new SetupError(
        `signatures required of ${JSON.stringify(capability)}, which ${problem}`,
      );
    }
    this.#file = signers;
    this.#required = new Set(requireSigned);
    this.#deps = deps;
    this.#lookedAtMs = deps.clock.elapsed();
    try {
      this.#stamp = stampOf(signers);
      this.#signers = parseSigners(readFileSync(signers, "utf8"));
    } catch (error) {
      throw new SetupError(`trusted signers of ${signers}: ${messageOf(error)}`);
    }
  }

  /** May this try start? What may is remembered as started. */
  judge(dispatch: Dispatch): Verdict {
    const { signature, capability } = dispatch;
    if (signature === undefined) {
      if (!this.#required.has(capability) && !this.#required.has("*")) {
        return { ok: true, signer: undefined };
      }
      return this.#refuse("signature_missing", `tasks of ${capability} run here only when signed`);
    }
    if ("problem" in signature) return this.#refuse("signature_invalid", signature.problem);
    this.#lookAgain();
    const signer = this.#signers.get(signature.signer);
    const nowMs = this.#deps.clock.now();
    const stranger = strangeness(signer, { signature, capability, nowMs });
    if (signer === undefined || stranger !== undefined) {
      return this.#refuse("unknown_signer", stranger ?? "");
    }
    if (!signer.key.verify(textOf(dispatch, signature), signature.signature)) {
      return this.#refuse(
        "signature_invalid",
        `${signer.name} has not signed this task as it came`,
      );
    }
    const expiresAtMs = timeOf(signature.expires);
    if (expiresAtMs <= nowMs) {
      return this.#refuse("signature_expired", `valid until ${signature.expires}`);
    }
    const unfit = unfitness(dispatch.requires, this.#deps.labels);
    if (unfit !== undefined) return this.#refuse("signature_invalid", unfit);
    if (expiresAtMs > nowMs + SIGNATURE_LIFETIME_MAX_MS + SIGNATURE_CLOCK_SKEW_MS) {
      return this.#refuse(
        "signature_invalid",
        `valid until ${signature.expires}, which is too long`,
      );
    }
    if (!this.#replays.admit(dispatch.taskId, dispatch.attempt, expiresAtMs, nowMs)) {
      return this.#refuse("replayed", "this node has run it already");
    }
    return { ok: true, signer: signer.name };
  }

  /** The end of a task's try is in its record: nothing runs here under its id again. */
  ended(taskId: string, attempt: number): void {
    this.#replays.ended(taskId, attempt);
  }

  #refuse(code: ErrorCode & keyof TrustCounts, message: string): Verdict {
    this.counts[code]++;
    return { ok: false, error: wireError(code, message) };
  }

  /** Reads the file again when it has changed. One that cannot be read leaves those who were trusted. */
  #lookAgain(): void {
    const { clock, log } = this.#deps;
    if (clock.elapsed() - this.#lookedAtMs < LOOK_AGAIN_MS) return;
    this.#lookedAtMs = clock.elapsed();
    try {
      const stamp = stampOf(this.#file);
      if (stamp === this.#stamp) return;
      const text = readFileSync(this.#file, "utf8");
      // Only now: what could not be read is looked at again, what was read once it has changed.
      this.#stamp = stamp;
      this.#problem = undefined;
      this.#signers = parseSigners(text);
      log.info({ file: this.#file, signers: this.#signers.size }, "trusted signers read again");
    } catch (error) {
      // Someone may be writing it.
      const problem = error instanceof SignersFileError ? error.message : messageOf(error);
      // Said once for as long as it lasts.
      if (problem === this.#problem) return;
      this.#problem = problem;
      log.error(
        { file: this.#file, problem },
        "trusted signers not read; those before stay trusted",
      );
    }
  }
}

/** Why the signer is none of ours: not at all, not for this, not now. */
function strangeness(
  signer: TrustedSigner | undefined,
  asked: { readonly signature: TaskSignature; readonly capability: string; readonly nowMs: number },
): string | undefined {
  const { signature, capability, nowMs } = asked;
  if (signer === undefined) return `${signature.signer} is not among the trusted signers`;
  const { name, capabilities, fromMs, untilMs } = signer;
  if (capabilities !== undefined && !capabilities.has(capability)) {
    return `${name} is trusted with ${[...capabilities].join(", ")}, not with ${capability}`;
  }
  if (nowMs < fromMs) return `${name} is trusted from ${isoTime(fromMs)} on`;
  if (nowMs >= untilMs) return `${name} was trusted with this key until ${isoTime(untilMs)}`;
  return undefined;
}

/** Which label was signed for that this node does not have. */
function unfitness(requires: string, labels: Readonly<Record<string, string>>): string | undefined {
  const wanted = parseRequires(requires);
  if (wanted === "bad") return `${Header.requires} is malformed`;
  const missing = Object.entries(wanted ?? {}).find(([name, value]) => labels[name] !== value);
  return missing && `signed for nodes with ${missing.join("=")}, which this one is not`;
}

function textOf(dispatch: Dispatch, { expires, signer }: TaskSignature): string {
  const { taskId, capability, payload, timeoutMs, requires } = dispatch;
  const payloadSha256 = createHash("sha256").update(payload).digest("hex");
  return signedText({
    id: taskId,
    capability,
    payloadSha256,
    timeoutMs,
    requires,
    expires,
    signer,
  });
}

/** What changes when the file does, also when another is moved into its place. */
function stampOf(path: string): string {
  const { ino, size, mtimeMs } = statSync(path);
  return `${ino} ${size} ${mtimeMs}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
