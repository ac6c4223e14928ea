/**
 * The lobby: where whoever has a key that the server does not know asks to be let in, or why not.
 *
 * The server's own refusal has no reason in it. In the lobby the mesh gives one, to the holder of the
 * key alone: getting there proves that.
 */
import { type Answer, ask, openConnection, type Protection, Requester } from "@swarm-mesh/bus";
import {
  identityJoinSubject,
  JoinAnswer,
  type JoinRequest,
  LOBBY_NAME,
} from "@swarm-mesh/protocol";
import type { Clock, Log } from "@swarm-mesh/runtime";
import { nkeys } from "nats";
import { JoinRefusedError } from "./join.ts";

interface LobbyOptions {
  readonly servers: string | readonly string[];
  /** The nkey seed that is to be let in. */
  readonly seed: Uint8Array;
  readonly protection: Protection | undefined;
  /** Without a token it is only asked why the key is refused. */
  readonly request: JoinRequest;
}

/** How long the authenticators may take; somebody may stay in the lobby for 15 s. */
const JOIN_TIMEOUT_MS = 5_000;

/**
 * Asks once. Answered with the node whose key it is now, or with a refusal that says why it is none.
 * Rejects when nobody lets us into the lobby: no server, or no authenticator, is there.
 */
async function askLobby(options: LobbyOptions): Promise<Answer<JoinAnswer>> {
  const publicKey = nkeys.fromSeed(options.seed).getPublicKey();
  const inboxPrefix = `_INBOX_${publicKey}`;
  const { servers, seed, protection } = options;
  const nc = await openConnection({
    ...{ servers, seed, protection, inboxPrefix, inbox: publicKey, name: LOBBY_NAME },
    patient: false,
  });
  try {
    const requester = new Requester(nc, { inboxPrefix });
    return await ask(requester, identityJoinSubject(publicKey), options.request, JoinAnswer, {
      timeoutMs: JOIN_TIMEOUT_MS,
    });
  } finally {
    await nc.close();
  }
}

/** What a refused node does next. */
type AfterRefusal =
  /** Try on: it was let in just now, or nobody could say, or time may mend it. */
  | { readonly kind: "try-on" }
  | { readonly kind: "end"; readonly code: string; readonly message: string };

/** How long a key that nobody knows is tried: a server may be about to read of it. */
const UNKNOWN_KEY_PATIENCE_MS = 10_000;

/** Judges what the lobby said to a node. `sinceMs`: for how long it has been refused in a row. */
export function judgeLobby(
  answer: Answer<JoinAnswer> | undefined,
  nodeId: string,
  sinceMs: number,
): AfterRefusal {
  if (answer?.kind === "ok") {
    const { node } = answer.value;
    if (node === nodeId) return { kind: "try-on" };
    return { kind: "end", code: "id_in_use", message: `the key is ${node}'s, not ${nodeId}'s` };
  }
  if (answer?.kind !== "refused" || answer.error.retryable) return { kind: "try-on" };
  const { code, message } = answer.error;
  if (code === "unknown_key" && sinceMs < UNKNOWN_KEY_PATIENCE_MS) return { kind: "try-on" };
  return { kind: "end", code, message };
}

export interface InquiryOptions {
  readonly nodeId: string;
  readonly servers: string | readonly string[];
  readonly seed: Uint8Array | undefined;
  readonly protection: Protection | undefined;
  readonly token: string | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** The key will not be let in: the node may as well end. */
  readonly onEnd: (failure: JoinRefusedError) => void;
}

/** Refusals that are further apart than this do not belong together. */
const SAME_REFUSAL_MS = 30_000;

/** Finds out what a refused node does next; one question at a time. */
export class Inquiry {
  readonly #options: InquiryOptions;
  #asking = false;
  #since = 0;
  #last = Number.NEGATIVE_INFINITY;
  /** Was it said that the key is refused? */
  #said = false;

  constructor(options: InquiryOptions) {
    this.#options = options;
  }

  /** The server refused our key. */
  onRefused(): void {
    const { clock, seed } = this.#options;
    const now = clock.elapsed();
    if (now - this.#last > SAME_REFUSAL_MS) {
      this.#since = now;
      this.#said = false;
    }
    this.#last = now;
    if (seed === undefined) this.#warn("no key");
    else if (!this.#asking) void this.#ask(seed);
  }

  /** A refusal that nobody cured: one that comes before a token is taken is usual, and not told. */
  #warn(problem: string): void {
    if (this.#said) return;
    this.#said = true;
    const { log, nodeId } = this.#options;
    log.warn({ nodeId, problem }, "the server refuses our key; trying on, ever less often");
  }

  async #ask(seed: Uint8Array): Promise<void> {
    const { clock, log, nodeId, onEnd, protection, servers, token } = this.#options;
    const request = { node: nodeId, ...(token === undefined ? {} : { token }) };
    this.#asking = true;
    const answer = await askLobby({ servers, seed, protection, request }).catch(
      (error: unknown) => {
        log.debug({ nodeId, err: error }, "nobody says why the key is refused");
        return undefined;
      },
    );
    this.#asking = false;
    const verdict = judgeLobby(answer, nodeId, clock.elapsed() - this.#since);
    if (verdict.kind === "end") onEnd(new JoinRefusedError(verdict.code, verdict.message));
    else if (answer?.kind === "ok") log.info({ nodeId }, "the mesh lets the key in");
    else this.#warn(problemOf(answer));
  }
}

/** Why nothing came of asking. */
function problemOf(answer: Answer<JoinAnswer> | undefined): string {
  if (answer === undefined) return "nobody is there to say why";
  return answer.kind === "refused" ? answer.error.message : answer.kind;
}
