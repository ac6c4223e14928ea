/**
 * One life of a node: from WELCOME to the loss of its lease, or to its end.
 *
 *     welcomed ──▶ listening ──▶ synced ──▶ lease written: READY ──▶ renewing ──▶ over
 *
 * It listens only once welcomed: the registry pings the id before it accepts a registration, and a
 * second process with the same id must not answer for itself. When trust in the lease ends, the
 * tasks end in the same turn of the event loop, before anything else is done.
 *
 * Trust does not end where the server answers and its store does not: without a quorum nobody can be
 * given this node's tasks, so what runs goes on, adrift, and the lease is claimed again when the store
 * is back and the control plane has not given this life up (decision 0022).
 */
import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import { answering, Lease, type Requester, watchLink } from "@swarm-mesh/bus";
import {
  DrainOrder,
  decode,
  encode,
  LEASES_BUCKET,
  lastTokenOf,
  type NodeLease,
  nodeLeaseKey,
  nodeSubject,
  type Pong,
  type Welcome,
  wireError,
} from "@swarm-mesh/protocol";
import {
  backoffMs,
  type Clock,
  type Log,
  type Random,
  REQUEST_BACKOFF,
  together,
  unlessAborted,
  Wakeup,
  within,
} from "@swarm-mesh/runtime";
import type { Msg, NatsConnection, Subscription } from "nats";
import type { Agents } from "./agents.ts";
import type { MeshView } from "./join.ts";
import type { NodeMeters } from "./meters.ts";
import type { Runner } from "./runner.ts";
import type { Life as RunnerLife } from "./runner-deps.ts";

export interface LifeDeps {
  readonly nodeId: string;
  readonly nc: NatsConnection;
  readonly requester: Requester;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly meters: NodeMeters;
  readonly agents: Agents;
  readonly runner: Runner;
  readonly view: MeshView;
  readonly onReady: () => void;
  readonly onDrain: (order: DrainOrder) => void;
}

/** Why a life ended. */
export type LifeEnd = "stopped" | "lease_lost" | "given_up" | "not_granted";

/** A renewal whose answer is not known is sent again after this. */
const RENEW_AGAIN_MS = 200;
/** How long the server may take to say that it is there. */
const SERVER_TIMEOUT_MS = 1_000;
/** The lease's first grant is tried this often; then the node registers anew. */
const GRANT_TRIES_MAX = 5;
/** After a link was back, how many renewals ask whether the control plane gave this life up meanwhile. */
const SYNCS_AFTER_LINK = 2;
/** Every so many renewals ask in any case: the leader that was asked may have been behind. */
const SYNC_EVERY_RENEWALS = 5;
/** Timers of the event loop are looked at this often; finer would cost wake-ups on an idle node. */
const LAG_RESOLUTION_MS = 50;

export class Life implements RunnerLife {
  readonly incarnation: number;
  readonly lease: Lease;
  readonly #deps: LifeDeps;
  readonly #over = new AbortController();
  readonly #lag: IntervalHistogram = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  readonly #wakeup = new Wakeup();
  #end: LifeEnd = "stopped";
  #granted = false;
  /** Renewals in a row that were not answered. */
  #unanswered = 0;
  /** Until when the server's own word is trusted that only its store is away. */
  #adriftUntilMs = Number.NEGATIVE_INFINITY;
  #rttMs = 0;
  #measuring = false;
  #syncing = false;
  #syncsDue = 0;
  #subscription: Subscription | undefined;

  constructor(welcome: Welcome, deps: LifeDeps) {
    this.#deps = deps;
    this.incarnation = welcome.incarnation;
    this.lease = new Lease({
      bucket: LEASES_BUCKET,
      key: nodeLeaseKey(deps.nodeId),
      ttlMs: welcome.config.leaseTtlMs,
      requester: deps.requester,
      clock: deps.clock,
      value: () => encode(this.#value()),
    });
  }

  standing(): ReturnType<RunnerLife["standing"]> {
    if (this.#over.signal.aborted) return "over";
    if (!this.#granted) return "granting";
    if (this.lease.trusted()) return "trusted";
    return this.#adriftMs() > 0 ? "adrift" : "over";
  }

  #adriftMs(): number {
    return this.#adriftUntilMs - this.#deps.clock.elapsed();
  }

  /** Lives until `signal` aborts or the lease is lost. By then no task of this life runs. */
  async run(signal: AbortSignal): Promise<LifeEnd> {
    this.#lag.enable();
    try {
      this.#listen();
      if (!(await this.#flush(signal))) return signal.aborted ? "stopped" : "not_granted";
      if (!(await this.#deps.view.sync())) this.#syncsDue = 1;
      if (!(await this.#grant(signal))) return signal.aborted ? "stopped" : "not_granted";
      this.#deps.onReady();
      await together(AbortSignal.any([signal, this.#over.signal]), [
        (inner) => this.#renew(inner),
        (inner) => this.#guard(inner),
        (inner) => watchLink(this.#deps.nc, (up) => this.#onLink(up), inner),
      ]);
      return this.#end;
    } finally {
      this.#close("stopped");
      this.#lag.disable();
    }
  }

  /** Ready must mean that the server knows the subscription. False: the link was lost, or aborted. */
  async #flush(signal: AbortSignal): Promise<boolean> {
    const flushed = this.#deps.nc.flush().then(
      () => true,
      () => false,
    );
    return (await unlessAborted(flushed, signal)) ?? false;
  }

  #listen(): void {
    const { nc, nodeId, runner, log } = this.#deps;
    runner.enter(this);
    const answerOther = answering((message) => this.#answer(message), log);
    this.#subscription = nc.subscribe(nodeSubject(nodeId, "*"), {
      callback: (error, message) => {
        if (error !== null) return;
        try {
          // Whoever was frozen finds its messages before its timers: the lease is looked at first.
          if (this.standing() === "over") this.#close("lease_lost");
          if (message.subject.endsWith(".task")) runner.onTask(message);
          else if (message.subject.endsWith(".tasks")) runner.onTasks(message);
          else answerOther(message);
        } catch (failure) {
          // A throw would end the client's read loop and leave a node that is connected and deaf.
          log.error({ err: failure, subject: message.subject }, "message not handled");
        }
      },
    });
  }

  #answer(message: Msg): unknown {
    const { runner, agents, onDrain } = this.#deps;
    if (this.standing() === "over") return undefined;
    switch (lastTokenOf(message.subject)) {
      case "ping":
        return { incarnation: this.incarnation, running: agents.running } satisfies Pong;
      case "cancel":
        runner.onCancel(message);
        return undefined;
      case "drain": {
        const order = decode(DrainOrder, message.data.length === 0 ? EMPTY : message.data);
        if (!order.ok) return { error: wireError("bad_request", order.problem) };
        onDrain(order.value);
        return { draining: true };
      }
      default:
        return { error: wireError("bad_request", "a node answers task, ping, drain and cancel") };
    }
  }

  async #grant(signal: AbortSignal): Promise<boolean> {
    const { clock, random, log } = this.#deps;
    for (let failures = 1; failures <= GRANT_TRIES_MAX && !signal.aborted; failures++) {
      // Whatever the key holds is of an earlier life of ours: the registry has ended it.
      const stored = await this.lease.grant(undefined);
      if (stored.kind === "stored") {
        this.#granted = true;
        return true;
      }
      log.warn({ stored, failures }, "lease not granted");
      await clock.sleep(backoffMs(REQUEST_BACKOFF, failures, random), signal);
    }
    return false;
  }

  async #renew(signal: AbortSignal): Promise<void> {
    const { clock, meters } = this.#deps;
    let waitMs = this.lease.renewEveryMs;
    for (let renewals = 1; !signal.aborted; renewals++) {
      await this.#sleep(waitMs, signal);
      if (signal.aborted) return;
      if (this.standing() === "over") return this.#close("lease_lost");
      this.#measure();
      const startedAtMs = clock.elapsed();
      const result = await this.lease.renew();
      meters.renewals.of(result).inc();
      if (result === "lost") return this.#close("lease_lost");
      const renewed = result === "disputed" ? await this.#reclaim() : result === "renewed";
      if (signal.aborted) return;
      await this.#note(renewed, signal);
      if (this.#syncsDue > 0 || renewals % SYNC_EVERY_RENEWALS === 0) void this.#sync();
      const everyMs = renewed ? this.lease.renewEveryMs : RENEW_AGAIN_MS;
      waitMs = Math.max(0, everyMs - (clock.elapsed() - startedAtMs));
    }
  }

  /** Takes note of how a renewal went; of one in vain, whether the server is there all the same. */
  async #note(renewed: boolean, signal: AbortSignal): Promise<void> {
    const { nodeId, nc, clock, log } = this.#deps;
    if (renewed) {
      if (this.#unanswered > 0)
        log.info({ nodeId, tries: this.#unanswered }, "lease renewed again");
      this.#unanswered = 0;
      this.#lag.reset();
      return;
    }
    // Said once for as long as it lasts.
    if (this.#unanswered++ === 0) log.warn({ nodeId }, "lease renewal not answered");
    const askedAtMs = clock.elapsed();
    const answered = nc.rtt().then(
      () => true,
      () => false,
    );
    const there = await within(signal, (inner) =>
      Promise.race([answered, clock.sleep(SERVER_TIMEOUT_MS, inner).then(() => false)]),
    );
    // Whoever was frozen meanwhile hears of it late: what is over does not begin again.
    if (this.standing() === "over") return this.#close("lease_lost");
    if (there) this.#adriftUntilMs = askedAtMs + this.lease.trustMs;
  }

  /**
   * The key is not as we left it: it expired while the store was away, or holds a renewal of ours whose
   * answer was lost. It is ours as long as the control plane knows of no end of this life.
   */
  async #reclaim(): Promise<boolean> {
    const { view } = this.#deps;
    if (!(await view.sync()) || this.standing() === "over") return false;
    if (view.hasGivenUp(this.incarnation)) {
      this.#close("given_up");
      return false;
    }
    this.#syncsDue = SYNCS_AFTER_LINK;
    return (await this.lease.grant(undefined)).kind === "stored";
  }

  /** Finds out whether the control plane has given this life up. Renewals do not wait for it. */
  async #sync(): Promise<void> {
    const { view } = this.#deps;
    if (this.#syncing) return;
    this.#syncing = true;
    if (await view.sync()) this.#syncsDue = Math.max(0, this.#syncsDue - 1);
    this.#syncing = false;
    if (view.hasGivenUp(this.incarnation)) this.#close("given_up");
  }

  /** Ends this life at the moment trust ends, whatever a renewal may be waiting for. */
  async #guard(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.standing() === "over") return this.#close("lease_lost");
      const leftMs = Math.max(this.lease.remainingMs(), this.#adriftMs());
      await this.#deps.clock.sleep(Math.max(1, leftMs), signal);
    }
  }

  #onLink(up: boolean): void {
    if (!up) return;
    this.#syncsDue = SYNCS_AFTER_LINK;
    this.#wakeup.ring();
  }

  #close(end: LifeEnd): void {
    if (this.#over.signal.aborted) return;
    this.#end = end;
    this.#over.abort();
    if (end !== "stopped") this.#deps.runner.fence();
    // A closed connection has ended its subscriptions already.
    if (!this.#deps.nc.isClosed()) this.#subscription?.unsubscribe();
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    this.#wakeup.clear();
    await within(signal, (inner) =>
      Promise.race([this.#deps.clock.sleep(ms, inner), this.#wakeup.wait(inner)]),
    );
  }

  #measure(): void {
    if (this.#measuring) return;
    this.#measuring = true;
    void this.#deps.nc
      .rtt()
      .then((rttMs) => {
        this.#rttMs = rttMs;
      })
      .catch(() => undefined)
      .finally(() => {
        this.#measuring = false;
      });
  }

  #value(): NodeLease {
    const { agents } = this.#deps;
    // The histogram holds whole intervals: what is above the resolution is delay.
    const lagMs = Math.max(0, this.#lag.max / 1e6 - LAG_RESOLUTION_MS);
    return {
      incarnation: this.incarnation,
      running: agents.running,
      slots: agents.slots,
      rttMs: round(this.#rttMs),
      lagMs: round(lagMs),
    };
  }
}

const EMPTY = new TextEncoder().encode("{}");

function round(ms: number): number {
  return Number.isFinite(ms) ? Math.round(ms * 10) / 10 : 0;
}
