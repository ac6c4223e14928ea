/** Joining: the registration, its refusals, and the first look at the mesh. */
import { ask, type Requester } from "@swarm-mesh/bus";
import {
  isGone,
  type MeshState,
  type Registration,
  registerSubject,
  SyncAnswer,
  syncSubject,
  Welcome,
} from "@swarm-mesh/protocol";
import {
  backoffMs,
  type Clock,
  LOOP_BACKOFF,
  type Log,
  type Random,
  unlessAborted,
} from "@swarm-mesh/runtime";

/** The registry will not have this node: the code says why. */
export class JoinRefusedError extends Error {
  override readonly name = "JoinRefusedError";
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export interface JoinOptions {
  readonly nodeId: string;
  readonly registration: Registration;
  readonly requester: Requester;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** How long `id_in_use` is waited out: the lease of a crashed predecessor has to expire first. */
  readonly idInUseWaitMs: number;
  readonly signal: AbortSignal;
}

/** How long the registry may take for one answer. */
const REGISTER_TIMEOUT_MS = 5_000;
/** How long joining waits for the coordinator: a mesh without a leader is joined all the same. */
const SYNC_TIMEOUT_MS = 1_000;

/**
 * Registers until welcomed. An absent or silent registry is waited for without a bound; a refusal
 * that time cannot cure is thrown as {@link JoinRefusedError}. `undefined`: `signal` aborted.
 */
export async function register(options: JoinOptions): Promise<Welcome | undefined> {
  const { nodeId, requester, clock, random, log, signal } = options;
  const startedAtMs = clock.elapsed();
  for (let failures = 1; !signal.aborted; failures++) {
    const asked = ask(requester, registerSubject(nodeId), options.registration, Welcome, {
      timeoutMs: REGISTER_TIMEOUT_MS,
    });
    const answer = await unlessAborted(asked, signal);
    if (answer === undefined) return undefined;
    if (answer.kind === "ok") return answer.value;
    if (answer.kind === "malformed") throw new JoinRefusedError("malformed", answer.problem);
    if (answer.kind === "refused") {
      const { code, message, retryable } = answer.error;
      const patient = clock.elapsed() - startedAtMs < options.idInUseWaitMs;
      const waitable = retryable || (code === "id_in_use" && patient);
      if (!waitable) throw new JoinRefusedError(code, message);
    }
    log.info({ nodeId, answer: answer.kind, failures }, "registration not answered with a welcome");
    await clock.sleep(backoffMs(LOOP_BACKOFF, failures, random), signal);
  }
  return undefined;
}

/** What the node knows of the mesh, and how it finds out whether that is still so. */
export class MeshView {
  readonly #nodeId: string;
  readonly #requester: Requester;
  #hash = "";
  #state: MeshState | undefined;

  constructor(nodeId: string, requester: Requester) {
    this.#nodeId = nodeId;
    this.#requester = requester;
  }

  get state(): MeshState | undefined {
    return this.#state;
  }

  /** Asks for the state unless it is the one known. False: nobody leads, or no answer in time. */
  async sync(): Promise<boolean> {
    const answer = await ask(
      this.#requester,
      syncSubject(this.#nodeId),
      { hash: this.#hash },
      SyncAnswer,
      { timeoutMs: SYNC_TIMEOUT_MS },
    );
    if (answer.kind !== "ok") return false;
    if (!answer.value.same) {
      this.#hash = answer.value.hash;
      this.#state = answer.value.state;
    }
    return true;
  }

  /** Has the control plane given up this life of the node, or let a later one in? */
  hasGivenUp(incarnation: number): boolean {
    const own = this.#state?.nodes.find((node) => node.id === this.#nodeId);
    return own !== undefined && isOver(incarnation, own);
  }
}

/**
 * Is this life over, by the node's record? One that is JOINING holds the number of the life before, which
 * ended with that (decision 0011).
 */
export function isOver(
  incarnation: number,
  own: Pick<MeshState["nodes"][number], "incarnation" | "state">,
): boolean {
  if (own.incarnation !== incarnation) return own.incarnation > incarnation;
  return own.state === "JOINING" || isGone(own.state);
}
