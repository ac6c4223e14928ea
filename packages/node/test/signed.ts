import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createUser } from "@nats-io/nkeys";
import { SigningKey } from "@swarm-mesh/bus";
import { Header, signatureHeaders, signedText, TIMEOUT_DEFAULT_MS } from "@swarm-mesh/protocol";
import { type Dispatch, parseDispatch } from "../src/dispatch.ts";

/** A key of this test's own. */
export const newKey = (): SigningKey => new SigningKey(createUser().getSeed());

/** A task as someone signs it. */
export interface Task {
  readonly id: string;
  readonly capability: string;
  readonly payload: Uint8Array;
  readonly timeoutMs?: number;
  readonly requires?: string;
  readonly expires: string;
}

/** What a dispatch of the task has in its headers, signed by `key`. */
export function signedHeaders(
  key: SigningKey,
  task: Task,
  { attempt = 1, epoch = 1, incarnation = 1 } = {},
): Record<string, string> {
  const { id, capability, payload, timeoutMs, requires = "", expires } = task;
  const text = signedText({
    ...{ id, capability, requires, expires, signer: key.publicKey },
    timeoutMs: timeoutMs ?? TIMEOUT_DEFAULT_MS,
    payloadSha256: createHash("sha256").update(payload).digest("hex"),
  });
  return {
    [Header.taskId]: id,
    [Header.capability]: capability,
    [Header.attempt]: String(attempt),
    [Header.epoch]: String(epoch),
    [Header.incarnation]: String(incarnation),
    ...(timeoutMs === undefined ? {} : { [Header.timeout]: `${timeoutMs}ms` }),
    ...(requires === "" ? {} : { [Header.requires]: requires }),
    ...Object.fromEntries(
      signatureHeaders({ signer: key.publicKey, expires, signature: key.sign(text) }),
    ),
  };
}

/** The dispatch that such headers and a payload are. */
export function dispatchOf(
  headers: Readonly<Record<string, string>>,
  payload: Uint8Array,
): Dispatch | undefined {
  const dispatch = parseDispatch({ get: (name) => headers[name] ?? "" }, payload);
  return "problem" in dispatch ? undefined : dispatch;
}

/** A file of signers, in a directory that goes with `remove`. */
export class SignersFile {
  readonly #dir = mkdtempSync(join(tmpdir(), "signers-"));
  readonly path = join(this.#dir, "signers");

  constructor(text = "") {
    this.write(text);
  }

  write(text: string): void {
    writeFileSync(this.path, text);
  }

  remove(): void {
    rmSync(this.#dir, { recursive: true });
  }
}
