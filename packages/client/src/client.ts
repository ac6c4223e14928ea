/**
 * The mesh for those who use it: submit tasks, wait for them, ask about tasks and nodes.
 *
 * A call survives what the mesh survives: a lost link, a server or a leader that changes. It tries
 * again until its deadline, and only then says that it does not know. Submits carry one id through
 * all tries, so a repeat never makes a second task.
 */
import {
  type Answer,
  ask,
  isSameKey,
  openConnection,
  type Protection,
  Requester,
  SigningKey,
  watchLink,
} from "@swarm-mesh/bus";
import {
  cancelSubject,
  type FindNodes,
  getSubject,
  isTaskId,
  LIST_SUBJECT,
  type ListTasks,
  NodeList,
  type NodeRecord,
  REGISTRY_FIND_SUBJECT,
  REGISTRY_LIST_SUBJECT,
  TaskList,
  TaskRecord,
} from "@swarm-mesh/protocol";
import {
  backoffMs,
  type Clock,
  type Latch,
  type Log,
  latch,
  type Random,
  REQUEST_BACKOFF,
  systemClock,
  systemRandom,
} from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";
import type { z } from "zod";
import { onAbort } from "./abort.ts";
import { watchDenials } from "./denials.ts";
import { MeshClientError, RefusedRequestError, SubmitError, TaskFailedError } from "./errors.ts";
import { Following, type WaitOptions } from "./following.ts";
import { reasonOf } from "./reason.ts";
import {
  prepare,
  type Signing,
  type SubmitItem,
  type SubmitOptions,
  type SubmitPayload,
} from "./submission.ts";
import { type SubmitManyOptions, type SubmitResult, submitMany } from "./submit-many.ts";
import { type SubmitOutcome, type Submitted, Submitter } from "./submitter.ts";

/** How a client works, whoever opened its connection. */
export interface MeshClientOptions {
  /** The user's name, whose inbox answers come to. Default `client`. */
  readonly inbox?: string | undefined;
  /** A whole inbox prefix, instead of {@link inbox}'s. From a NATS context. */
  readonly inboxPrefix?: string | undefined;
  /** How long a call tries before it fails with `unavailable`. Default 30 s. */
  readonly deadlineMs?: number | undefined;
  /** The nkey seed that signs every task; never that of a user. Default: none is signed. */
  readonly signer?: Uint8Array | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
}

/** How a client connects, and works. */
export interface ConnectClientOptions extends MeshClientOptions {
  readonly servers: string | readonly string[];
  /** The nkey seed of the user; without it the connection is anonymous. */
  readonly seed?: Uint8Array | undefined;
  /** How the way to the server is encrypted. Default: what the environment says, `NATS_CA` and others. */
  readonly protection?: Protection | undefined;
  /** Shown by the server for this connection. */
  readonly name?: string | undefined;
  /** Keep trying when no server answers at first. Default true. */
  readonly patient?: boolean | undefined;
  readonly log?: Log | undefined;
}

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** A request on its way. */
interface Asking {
  readonly subject: string;
  /** Ends it before its answer, or when that can no longer come. */
  readonly cut: Latch<Answer<never>>;
}

/** How long a call tries unless it was told otherwise: longer than an election of the store. */
const DEADLINE_DEFAULT_MS = 30_000;
/** How long one try of a request may take. A killed coordinator's requests are lost with it. */
const TRY_TIMEOUT_MS = 3_000;

/**
 * Connects as a user of the mesh. {@link MeshClient.close} closes the connection. Rejects when tasks
 * were to be signed with the user's own key: see {@link isSameKey}.
 */
export async function connectClient(options: ConnectClientOptions): Promise<MeshClient> {
  const { inbox = "client", inboxPrefix, patient = true, log, protection, seed, servers } = options;
  if (options.signer !== undefined && isSameKey(options.signer, seed)) {
    throw new MeshClientError("bad_request", "a signer needs a key of its own, not the user's");
  }
  const nc = await openConnection({
    servers,
    seed,
    inbox,
    inboxPrefix,
    patient,
    protection,
    name: options.name ?? "mesh-client",
    ...(log === undefined ? {} : { log }),
  });
  return new MeshClient(nc, { ...options, owned: true });
}

/**
 * Submits tasks, waits for them, asks about tasks and nodes. It may be used by any number of
 * callers at once.
 */
export class MeshClient {
  readonly nc: NatsConnection;
  readonly #owned: boolean;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #requester: Requester;
  readonly #submitter: Submitter;
  readonly #following: Following;
  readonly #deadlineMs: number;
  readonly #signingKey: SigningKey | undefined;
  readonly #asking = new Set<Asking>();

  /** On a connection of the caller's, which stays open unless it is `owned`. */
  constructor(nc: NatsConnection, options: MeshClientOptions & { readonly owned?: boolean } = {}) {
    const clock = options.clock ?? systemClock;
    const random = options.random ?? systemRandom;
    const deadlineMs = options.deadlineMs ?? DEADLINE_DEFAULT_MS;
    const inboxPrefix = options.inboxPrefix ?? `_INBOX_${options.inbox ?? "client"}`;
    const requester = new Requester(nc, { inboxPrefix, clock });
    this.nc = nc;
    this.#owned = options.owned ?? false;
    this.#clock = clock;
    this.#random = random;
    this.#requester = requester;
    this.#deadlineMs = deadlineMs;
    this.#signingKey = options.signer && new SigningKey(options.signer);
    this.#submitter = new Submitter({ requester, clock, random, deadlineMs });
    this.#following = new Following({ nc, clock, random, get: (taskId) => this.#peek(taskId) });
    void watchDenials(nc, (subject, message) => this.#denied(subject, message));
    const untilClosed = new AbortController().signal;
    void watchLink(nc, (up) => up && this.#linkIsBack(), untilClosed);
  }

  /** Submits a task. Resolves once it is durable; a repeat with the same id is the same task. */
  submit(
    capability: string,
    payload?: SubmitPayload,
    options: SubmitOptions & CallOptions = {},
  ): Promise<Submitted> {
    return new Promise((resolve, reject) => {
      this.#submitter.submit(
        prepare(capability, payload, options, this.#signing()),
        (outcome) => (outcome instanceof SubmitError ? reject(outcome) : resolve(outcome)),
        options.signal,
      );
    });
  }

  /** Submits many tasks, a bounded number on their way at once; yields each as it settles. */
  submitMany(
    items: Iterable<SubmitItem> | AsyncIterable<SubmitItem>,
    options: SubmitManyOptions = {},
  ): AsyncGenerator<SubmitResult, void, undefined> {
    return submitMany(
      { submitter: this.#submitter, items, signing: () => this.#signing() },
      options,
    );
  }

  /** Submits a task and waits for its result. Throws {@link TaskFailedError} when it has none. */
  async run(
    capability: string,
    payload?: SubmitPayload,
    options: SubmitOptions & WaitOptions = {},
  ): Promise<unknown> {
    return resultOf(await this.submitAndWait(capability, payload, options));
  }

  /** Submits a task and waits for its final record, whatever that is. */
  submitAndWait(
    capability: string,
    payload?: SubmitPayload,
    options: SubmitOptions & WaitOptions = {},
  ): Promise<TaskRecord> {
    return new Promise((resolve, reject) => {
      const submission = prepare(capability, payload, options, this.#signing());
      // Listens first: a quick task may have ended before its submit is answered.
      const follower = this.#following.listen(submission.id, resolve, reject);
      const onOutcome = (outcome: SubmitOutcome): void => {
        if (outcome instanceof SubmitError) {
          this.#following.fail(follower, outcome);
          return;
        }
        // A task that was there before may have ended long ago, and then nothing more is published.
        const first = options.id === undefined && !outcome.duplicate ? "later" : "now";
        this.#following.begin(follower, first, options);
      };
      follower.submit = this.#submitter.submit(submission, onOutcome, options.signal);
    });
  }

  /** Waits for the task's final record. A task nobody knows yet is waited for all the same. */
  async wait(taskId: string, options: WaitOptions = {}): Promise<TaskRecord> {
    return this.#following.wait(checked(taskId), options);
  }

  /** Waits for the task's result. Throws {@link TaskFailedError} when it ended without one. */
  async result(taskId: string, options: WaitOptions = {}): Promise<unknown> {
    return resultOf(await this.wait(taskId, options));
  }

  /** Each state of the task as it becomes known, the final one last. Quick changes may be skipped. */
  async *watch(
    taskId: string,
    options: CallOptions = {},
  ): AsyncGenerator<TaskRecord, void, undefined> {
    yield* this.#following.steps(checked(taskId), options.signal);
  }

  /** The task's record; `undefined` when it has none: it waits, or was never submitted. */
  async get(taskId: string, options: CallOptions = {}): Promise<TaskRecord | undefined> {
    const answer = await this.#ask(getSubject(checked(taskId)), {}, TaskRecord, options);
    return answer.kind === "ok" ? answer.value : undefined;
  }

  /** Cancels the task and returns its record. A final task stays as it is. */
  async cancel(taskId: string, options: CallOptions = {}): Promise<TaskRecord> {
    const answer = await this.#ask(cancelSubject(checked(taskId)), {}, TaskRecord, options);
    if (answer.kind === "not_found") throw new RefusedRequestError(answer.error);
    return answer.value;
  }

  /** Records, newest change first. `complete` is false when older ones were not looked at. */
  async list(filter: Partial<ListTasks> = {}, options: CallOptions = {}): Promise<TaskList> {
    return this.#require(await this.#ask(LIST_SUBJECT, filter, TaskList, options));
  }

  /** Every node that has a record. */
  async nodes(options: CallOptions = {}): Promise<readonly NodeRecord[]> {
    return this.#require(await this.#ask(REGISTRY_LIST_SUBJECT, {}, NodeList, options)).nodes;
  }

  /** The nodes that are active, offer the capability and have the labels. */
  async findNodes(filter: FindNodes, options: CallOptions = {}): Promise<readonly NodeRecord[]> {
    return this.#require(await this.#ask(REGISTRY_FIND_SUBJECT, filter, NodeList, options)).nodes;
  }

  /** One request, tried once. Rejects when it is forbidden, aborted, or the connection is closed. */
  async askOnce<S extends z.ZodType>(
    subject: string,
    body: unknown,
    schema: S,
    options: CallOptions & { readonly timeoutMs: number },
  ): Promise<Answer<z.infer<S>>> {
    const { signal, timeoutMs } = options;
    if (this.nc.isClosed()) throw new MeshClientError("closed", "the connection is closed");
    const asking: Asking = { subject, cut: latch() };
    const { cut } = asking;
    const release = onAbort(signal, () => cut.reject(new MeshClientError("aborted", "aborted")));
    this.#asking.add(asking);
    try {
      const answer = ask(this.#requester, subject, body, schema, { timeoutMs });
      return await Promise.race([answer, cut.promise]);
    } finally {
      release();
      this.#asking.delete(asking);
    }
  }

  /** Closes the connection if {@link connectClient} opened it. What is on its way is not known. */
  async close(): Promise<void> {
    if (this.#owned) await this.nc.close();
  }

  /** What was on its way when the link was lost is answered by nobody. */
  #linkIsBack(): void {
    this.#submitter.sendAgain();
    for (const { cut } of this.#asking) cut.resolve({ kind: "timeout" });
    this.#following.askAll();
  }

  #signing(): Signing | undefined {
    return this.#signingKey && { key: this.#signingKey, nowMs: this.#clock.now() };
  }

  #denied(subject: string, message: string): void {
    this.#submitter.denied(subject, message);
    const error = new MeshClientError("denied", `this user may not ask that: ${message}`);
    for (const asking of this.#asking) if (asking.subject === subject) asking.cut.reject(error);
  }

  /** One look at the record. Nobody there is no failure; no right to ask is. */
  async #peek(taskId: string): Promise<TaskRecord | undefined> {
    const timeoutMs = TRY_TIMEOUT_MS;
    const answer = await this.askOnce(getSubject(taskId), {}, TaskRecord, { timeoutMs });
    return answer.kind === "ok" ? answer.value : undefined;
  }

  #require<T>(answer: Asked<T>): T {
    if (answer.kind === "not_found") throw new RefusedRequestError(answer.error);
    return answer.value;
  }

  /** Asks until someone who knows has answered, or the deadline is over. */
  async #ask<S extends z.ZodType>(
    subject: string,
    body: unknown,
    schema: S,
    options: CallOptions,
  ): Promise<Asked<z.infer<S>>> {
    const deadline = this.#clock.elapsed() + this.#deadlineMs;
    for (let failures = 1; ; failures++) {
      const remaining = deadline - this.#clock.elapsed();
      const timeoutMs = Math.max(1, Math.min(TRY_TIMEOUT_MS, remaining));
      const { signal } = options;
      const answer = await this.askOnce(subject, body, schema, { timeoutMs, signal });
      if (answer.kind === "ok") return answer;
      if (answer.kind === "malformed") {
        throw new MeshClientError("malformed", `${subject}: ${answer.problem}`);
      }
      if (answer.kind === "refused" && !answer.error.retryable) {
        if (answer.error.code === "not_found") return { kind: "not_found", error: answer.error };
        throw new RefusedRequestError(answer.error);
      }
      const waitMs = backoffMs(REQUEST_BACKOFF, failures, this.#random);
      if (this.#clock.elapsed() + waitMs >= deadline) {
        throw new MeshClientError("unavailable", `${subject}: ${reasonOf(answer)}`);
      }
      await this.#clock.sleep(waitMs, signal);
    }
  }
}

type Asked<T> =
  | { readonly kind: "ok"; readonly value: T }
  | { readonly kind: "not_found"; readonly error: RefusedRequestError["refusal"] };

function resultOf(record: TaskRecord): unknown {
  if (record.status !== "succeeded") throw new TaskFailedError(record);
  return record.result;
}

function checked(taskId: string): string {
  if (isTaskId(taskId)) return taskId;
  throw new MeshClientError(
    "bad_request",
    `${JSON.stringify(taskId.slice(0, 80))} is no task id: 1 to 64 characters of A-Z a-z 0-9 _ -`,
  );
}
