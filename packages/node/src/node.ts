/**
 * A node of the mesh: a process that runs tasks.
 *
 *     new ──start──▶ joining ⇄ active ──drain, stop──▶ leaving ──▶ closed
 *
 * A node that loses its lease has ended its tasks before others may take them; it then joins again
 * by itself as a new incarnation. Only a refusal that time cannot cure, or a stop, ends it.
 */
import { availableParallelism } from "node:os";
import { ask, openConnection, Requester, watchLink } from "@swarm-mesh/bus";
import {
  CLUSTER_LEASE_TTL_MS,
  check,
  type Deregistration,
  type DrainOrder,
  deregisterSubject,
  type MeshState,
  NodeId,
  type Registration,
} from "@swarm-mesh/protocol";
import {
  backoffMs,
  type Clock,
  type Latch,
  LOOP_BACKOFF,
  type Log,
  latch,
  Meters,
  type Random,
  silentLog,
  systemClock,
  systemRandom,
  unlessAborted,
} from "@swarm-mesh/runtime";
import type { NatsConnection } from "nats";
import { z } from "zod";
import { Agents, SetupError } from "./agents.ts";
import {
  functionHandler,
  type HandleOptions,
  type HandlerFunction,
  isHandler,
  type TaskContext,
  type TaskHandler,
} from "./handler.ts";
import { JoinRefusedError, MeshView, register } from "./join.ts";
import { Life } from "./life.ts";
import { Inquiry } from "./lobby.ts";
import { NodeMeters } from "./meters.ts";
import type { DrainOptions, MeshNodeOptions, NodePhase } from "./node-options.ts";
import { openTrust, registrationOf } from "./registering.ts";
import { Runner } from "./runner.ts";
import type { RunnerCounts } from "./runner-deps.ts";
import type { Trust, TrustCounts } from "./trust.ts";

const SERVERS_DEFAULT = "nats://127.0.0.1:4222";
const DRAIN_DEADLINE_MS = 30_000;
/** `stop()` gives running tasks this long. */
const STOP_DEADLINE_MS = 2_000;
/** What handlers may take to end, and to save a checkpoint, once they are told to. */
const GRACE_MS = 2_000;
/** How late the runner may notice that a grace is over. */
const SWEEP_LATE_MS = 1_000;
/** How long a leaving node waits for its outcomes to be acknowledged beyond its deadline. */
const TELL_MAX_MS = 10_000;
/** A leaving node tells the registry, but does not wait longer for it. */
const DEREGISTER_TIMEOUT_MS = 2_000;
/** A predecessor's lease expires within the TTL; the second TTL is for elections in the store. */
const ID_IN_USE_WAIT_MS = 2 * CLUSTER_LEASE_TTL_MS + 8_000;

interface Session {
  readonly nc: NatsConnection;
  readonly requester: Requester;
  readonly runner: Runner;
  readonly view: MeshView;
  readonly registration: Registration;
}

/** A node in this process, which joins again by itself until it is drained or stopped. */
export class MeshNode {
  readonly #options: MeshNodeOptions;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #agents: Agents;
  readonly #meters: NodeMeters;
  readonly #stop = new AbortController();
  readonly #ready: Latch<void> = latch();
  readonly #closed: Latch<Error | undefined> = latch();
  readonly #handOver = new AbortController();
  #phase: NodePhase = "new";
  #life: Life | undefined;
  #session: Session | undefined;
  #trust: Trust | undefined;
  #lives: Promise<void> = Promise.resolve();
  #leaving: Promise<void> | undefined;
  #failure: Error | undefined;

  /** Throws {@link SetupError} when an id, agent or slot count cannot be. */
  constructor(options: MeshNodeOptions) {
    const id = check(NodeId, options.id);
    if (!id.ok) throw new SetupError(`node ${JSON.stringify(options.id)}: ${id.problem}`);
    this.#options = options;
    this.#log = options.log ?? silentLog;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    const main = { name: "main", slots: options.slots ?? availableParallelism() };
    const agents = new Agents(options.agents ?? [main]);
    this.#agents = agents;
    const active = (): boolean => this.#phase === "active";
    this.#meters = new NodeMeters(options.meters ?? new Meters(), { id: id.value, agents, active });
    this.#ready.promise.catch(() => undefined);
  }

  get id(): string {
    return this.#options.id;
  }

  get phase(): NodePhase {
    return this.#phase;
  }

  /** The current life's number; 0 while joining. */
  get incarnation(): number {
    return this.#life?.incarnation ?? 0;
  }

  /** Slots in use. */
  get running(): number {
    return this.#agents.running;
  }

  /** What the coordinator told of the mesh when last asked. */
  get mesh(): MeshState | undefined {
    return this.#session?.view.state;
  }

  get counts(): Readonly<RunnerCounts> | undefined {
    return this.#session?.runner.counts;
  }

  /** Why tasks were refused for their signature, and how often; `undefined` without trusted signers. */
  get untrusted(): Readonly<TrustCounts> | undefined {
    return this.#trust?.counts;
  }

  /** Resolves when the node has ended: with the reason when it was not asked to. */
  get closed(): Promise<Error | undefined> {
    return this.#closed.promise;
  }

  /** Offers a capability. Only before {@link start}. Throws {@link SetupError}. */
  handle(capability: string, handler: TaskHandler | HandlerFunction): this;
  handle<Input extends z.ZodType = z.ZodUnknown, Output extends z.ZodType = z.ZodUnknown>(
    capability: string,
    options: HandleOptions<Input, Output>,
    handler: (
      input: z.output<Input>,
      context: TaskContext,
    ) => z.input<Output> | Promise<z.input<Output>>,
  ): this;
  handle(capability: string, options: { readonly agent: string }, handler: TaskHandler): this;
  handle(
    capability: string,
    first: HandleOptions | TaskHandler | HandlerFunction,
    second?: TaskHandler | HandlerFunction<never>,
  ): this {
    if (this.#phase !== "new") throw new SetupError("handlers are registered before start()");
    const options = isHandler(first) ? {} : first;
    const handler = isHandler(first) ? first : second;
    if (handler === undefined) throw new SetupError(`capability ${capability}: no handler given`);
    this.#agents.add(
      capability,
      typeof handler === "function"
        ? // The schema in `options` makes sure of what the function is given.
          functionHandler(handler as HandlerFunction, options)
        : handler,
      options.agent,
    );
    return this;
  }

  /**
   * Connects and joins; resolves once the node is ready for tasks. Waits for servers and services
   * that are not there yet. Rejects when a handler cannot be opened, or with {@link JoinRefusedError}
   * when the registry or the lobby says that this id or key is not let in; the node has ended then.
   */
  async start(): Promise<void> {
    if (this.#phase !== "new") throw new SetupError("a node is started once");
    this.#phase = "joining";
    try {
      const registration = registrationOf(this.#options, this.#agents);
      this.#trust = openTrust(this.#options, registration, this.#log);
      for (const [handler, slots] of this.#agents.handlers()) {
        await handler.open?.({ slots, log: this.#log });
      }
      this.#session = await this.#open(registration);
    } catch (failure) {
      await this.#close(errorOf(failure));
      // A key that was refused for good ended the node before this did.
      throw this.#failure ?? failure;
    }
    const session = this.#session;
    void watchLink(session.nc, (up) => session.runner.setLink(up), this.#stop.signal);
    void session.runner.run(this.#stop.signal).catch((bug: unknown) => this.#end(errorOf(bug)));
    void session.nc.closed().then((failure) => {
      this.#end(failure instanceof Error ? failure : new Error("the connection was closed"));
    });
    this.#lives = this.#live(session, this.#stop.signal);
    void this.#lives.catch((failure: unknown) => this.#end(errorOf(failure)));
    return this.#ready.promise;
  }

  /**
   * Leaves in order: takes nothing new, lets tasks finish until the deadline, hands back the rest,
   * waits until every outcome is recorded, and closes. A repeat waits for the same end.
   */
  drain(options: DrainOptions = {}): Promise<void> {
    this.#leaving ??= this.#leave({
      deadlineMs: options.deadlineMs ?? DRAIN_DEADLINE_MS,
      reason: options.reason ?? "drain",
    });
    return this.#leaving;
  }

  /** {@link drain} with a short deadline; one that is under way is cut short. */
  stop(): Promise<void> {
    if (this.#leaving !== undefined) this.#handOver.abort();
    return this.drain({ deadlineMs: STOP_DEADLINE_MS, reason: "stop" });
  }

  async #open(registration: Registration): Promise<Session> {
    const { id, connection, protection, seed, servers = SERVERS_DEFAULT, token } = this.#options;
    const shared = { servers, seed, protection, log: this.#log };
    const onEnd = (failure: Error): void => this.#end(failure);
    const inquiry = new Inquiry({ ...shared, nodeId: id, token, clock: this.#clock, onEnd });
    const signal = this.#stop.signal;
    const onRefused = (): void => inquiry.onRefused();
    const opening = Promise.resolve(
      connection ?? openConnection({ ...shared, name: `node/${id}`, inbox: id, onRefused, signal }),
    );
    const nc = await unlessAborted(opening, signal);
    if (nc === undefined || signal.aborted) {
      // One try to connect cannot be interrupted, only be of no use.
      if (connection === undefined)
        void opening.then((late) => late.close()).catch(() => undefined);
      throw new Error("the node was stopped");
    }
    const requester = new Requester(nc, { inboxPrefix: `_INBOX_${id}`, clock: this.#clock });
    const runner = new Runner({
      nodeId: id,
      agents: this.#agents,
      trust: this.#trust,
      requester,
      publish: (subject, payload) => {
        if (!nc.isClosed()) nc.publish(subject, payload);
      },
      graceMs: this.#options.graceMs ?? GRACE_MS,
      messageMaxBytes: () => nc.info?.max_payload ?? 1024 * 1024,
      clock: this.#clock,
      random: this.#random,
      log: this.#log,
      meters: this.#meters,
    });
    this.#meters.connected(nc, runner);
    return { nc, requester, runner, view: new MeshView(id, requester), registration };
  }

  /** Life after life, until stopped. Rejects when the registry will not have this node. */
  async #live(session: Session, signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      const endedIn = await this.#liveOnce(session, signal);
      this.#life = undefined;
      if (endedIn === "stopped" || this.#leaving !== undefined) return;
      this.#phase = "joining";
      failures = endedIn === "not_granted" ? failures + 1 : 1;
      this.#log.warn({ nodeId: this.id, reason: endedIn }, "node joins again");
      await this.#clock.sleep(backoffMs(LOOP_BACKOFF, failures, this.#random), signal);
    }
  }

  async #liveOnce(session: Session, signal: AbortSignal) {
    const { nc, requester, runner, view, registration } = session;
    const [clock, random, log, meters] = [this.#clock, this.#random, this.#log, this.#meters];
    const shared = { requester, clock, random, log, meters };
    const welcome = await register({
      ...shared,
      nodeId: this.id,
      registration,
      idInUseWaitMs: ID_IN_USE_WAIT_MS,
      signal,
    });
    if (welcome === undefined) return "stopped";
    const life = new Life(welcome, {
      ...shared,
      nodeId: this.id,
      nc,
      agents: this.#agents,
      runner,
      view,
      onReady: () => this.#onReady(life),
      onDrain: (order) => void this.#drainAsTold(order),
    });
    this.#life = life;
    return life.run(signal);
  }

  #onReady(life: Life): void {
    if (this.#phase === "joining") this.#phase = "active";
    this.#log.info({ nodeId: this.id, incarnation: life.incarnation }, "node joined");
    this.#meters.lives.inc();
    this.#ready.resolve();
  }

  async #drainAsTold(order: DrainOrder): Promise<void> {
    this.#log.info({ nodeId: this.id, reason: order.reason }, "node was told to drain");
    await this.drain(order);
  }

  async #leave(options: Required<DrainOptions>): Promise<void> {
    const before = this.#phase;
    if (before === "closed") return;
    this.#phase = "leaving";
    const session = this.#session;
    if (before === "new" || session === undefined) return this.#close(undefined);
    const { runner } = session;
    runner.draining = true;
    await this.#deregister(session, "leaving", options.reason);
    await runner.idle(this.#after(options.deadlineMs, this.#handOver.signal));
    const graceMs = this.#options.graceMs ?? GRACE_MS;
    runner.handBack(graceMs);
    // The runner gives up on them by itself; the rest is for a sweep that comes late.
    await runner.idle(this.#after(graceMs + SWEEP_LATE_MS));
    await runner.told(this.#after(TELL_MAX_MS));
    if (runner.outbox.size > 0) {
      this.#log.warn({ outcomes: runner.outbox.size }, "node left with outcomes not recorded");
    }
    await this.#deregister(session, "left", options.reason);
    await this.#close(undefined);
  }

  /** Aborts after `ms`, with `sooner`, and when the node is stopped for another reason. */
  #after(ms: number, sooner: AbortSignal = this.#stop.signal): AbortSignal {
    const over = new AbortController();
    const either = AbortSignal.any([sooner, this.#stop.signal]);
    void this.#clock.sleep(ms, either).then(() => over.abort());
    return over.signal;
  }

  async #deregister(session: Session, phase: Deregistration["phase"], reason: string) {
    const life = this.#life;
    if (life === undefined) return;
    const body: Deregistration = { incarnation: life.incarnation, phase, reason };
    const asked = ask(session.requester, deregisterSubject(this.id), body, z.unknown(), {
      timeoutMs: DEREGISTER_TIMEOUT_MS,
    });
    const answer = await unlessAborted(asked, this.#stop.signal);
    if (answer?.kind !== "ok") {
      this.#log.warn({ phase, answer: answer?.kind }, "registry did not take note of leaving");
    }
  }

  /** Ends the node for a reason of its own. */
  #end(failure: Error): void {
    if (this.#phase === "closed" || this.#stop.signal.aborted) return;
    this.#session?.runner.fence();
    const said = { nodeId: this.id, err: failure };
    // Whoever started the node is told the reason; the stack of a refusal says nothing to anybody.
    if (failure instanceof JoinRefusedError) this.#log.debug(said, "node refused");
    else this.#log.error(said, "node ended");
    void this.#close(failure);
  }

  /** Lets go of everything. The lease's TTL is the hedge for what fails here. */
  async #close(failure: Error | undefined): Promise<void> {
    if (this.#stop.signal.aborted) return;
    this.#failure = failure;
    const life = this.#life;
    this.#stop.abort();
    this.#session?.runner.fence();
    await this.#lives.catch(() => undefined);
    const nc = this.#session?.nc;
    if (nc?.isClosed() === false) {
      await life?.lease.revoke().catch(() => undefined);
      if (this.#options.connection === undefined) await nc.close();
    }
    for (const handler of this.#agents.handlers().keys()) {
      await handler.close?.().catch((error: unknown) => {
        this.#log.warn({ err: error }, "handler did not close");
      });
    }
    this.#phase = "closed";
    this.#ready.reject(this.#failure ?? new Error("the node was stopped"));
    this.#closed.resolve(this.#failure);
  }
}

function errorOf(failure: unknown): Error {
  return failure instanceof Error ? failure : new Error(String(failure));
}
