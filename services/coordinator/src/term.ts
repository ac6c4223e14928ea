/**
 * One term of one leader: everything it holds, from taking over to letting go.
 *
 * Events only make it fast: a delivery, an outcome, a node that comes or goes. The sweep makes it
 * correct when every event was missed.
 */

import { setMaxListeners } from "node:events";
import { hostname } from "node:os";
import { answer, answering, askerOf, listen, RefusedError } from "@swarm-mesh/bus";
import type { ServiceDeps } from "@swarm-mesh/process";
import {
  cancelSubject,
  decode,
  HeldRequest,
  heldSubject,
  isTaskId,
  lastTokenOf,
  MoveRequest,
  moveSubject,
  NodeId,
  outcomeSubject,
  outcomesSubject,
  progressSubject,
  RUNNING_MAX,
  type SyncAnswer,
  SyncRequest,
  syncSubject,
} from "@swarm-mesh/protocol";
import { aborted, BriefMap, latch, ticks, together } from "@swarm-mesh/runtime";
import type { Msg } from "nats";
import type { Audits } from "./auditor.ts";
import { Backlog } from "./backlog.ts";
import type { Config } from "./config.ts";
import { Courier } from "./courier.ts";
import { Dispatcher } from "./dispatcher.ts";
import type { Fleet } from "./fleet.ts";
import { type Delivery, HeldTask, type ParsedTask, parseTask } from "./held-task.ts";
import { Lanes } from "./lanes.ts";
import type { CoordinatorMeters } from "./meters.ts";
import type { Holding } from "./queue.ts";
import { Records, TermOverError } from "./records.ts";
import { Settlement } from "./settlement.ts";
import { Snapshot } from "./snapshot.ts";
import { Strays } from "./strays.ts";
import { beginTrace } from "./task-trace.ts";
import { Vigil } from "./vigil.ts";

export interface TermOptions {
  readonly config: Config;
  readonly deps: Omit<ServiceDeps, "ready" | "meters">;
  readonly meters: CoordinatorMeters;
  readonly epoch: number;
  readonly fleet: Fleet;
  /** May this term still act? */
  readonly trusted: () => boolean;
  /** Who writes the audit trail; told how to ask for the newest revision that this term has written. */
  readonly auditor: (newestRevision: () => number) => Audits;
  /** Called by the fleet when slots become free; the term registers itself here. */
  readonly onFree: { listener: ((capabilities: readonly string[]) => void) | undefined };
}

export class Term {
  readonly #options: TermOptions;
  readonly #tasks = new BriefMap<HeldTask>();
  readonly #backlog = new Backlog<HeldTask>();
  readonly #dirty = new Set<string>();
  readonly #broken = latch<never>();
  readonly #ended = new AbortController();
  readonly #records: Records;
  readonly #dispatcher: Dispatcher;
  readonly #settlement: Settlement;
  readonly #lanes: Lanes;
  readonly #strays: Strays;
  readonly #vigil: Vigil;
  readonly #snapshot: Snapshot;
  readonly #auditor: Audits;
  readonly #beganAtMs: number;
  #tookOver = false;
  #examining = 0;
  #settled = false;

  constructor(options: TermOptions) {
    this.#options = options;
    this.#beganAtMs = options.deps.clock.elapsed();
    const { config, deps, epoch, fleet, meters, trusted } = options;
    const signal = this.#ended.signal;
    // While the store is away every write in hand waits for this one signal: many listeners are no leak.
    setMaxListeners(0, signal);
    this.#records = new Records({ ...deps, meters, epoch, signal, trusted });
    this.#lanes = new Lanes({
      ...deps,
      signal,
      inboxPrefix: "_INBOX_coordinator",
      onDelivery: (delivery) => this.#deliver(delivery),
      onSettled: () => this.#settle(),
      onBug: (error) => this.#broken.reject(error),
    });
    this.#auditor = options.auditor(() => this.#records.newestRevision);
    this.#snapshot = new Snapshot({ instance: deps.instance, epoch }, fleet);
    const shared = { ...deps, meters, config, epoch, fleet, records: this.#records };
    this.#dispatcher = new Dispatcher({
      ...shared,
      courier: new Courier({ ...deps, epoch }),
      backlog: this.#backlog,
      localHost: hostname(),
      spawn: (held, work) => this.#spawnFor(held, work),
      settled: () => this.#settled,
      onLeft: (held) => this.#forget(held),
    });
    this.#settlement = new Settlement({
      ...shared,
      dispatcher: this.#dispatcher,
      tasks: this.#tasks,
      settled: () => this.#settled,
    });
    const settlement = this.#settlement;
    this.#vigil = new Vigil({
      ...shared,
      dispatcher: this.#dispatcher,
      settlement,
      tasks: this.#tasks,
      spawn: (held, work) => this.#spawnFor(held, work),
    });
    this.#strays = new Strays({ ...deps, settlement, tasks: this.#tasks, signal });
  }

  /** Leads until `signal` aborts. Rejects on a bug. */
  async run(signal: AbortSignal): Promise<void> {
    const { nc, log } = this.#options.deps;
    const settlement = this.#settlement;
    const ending = this.#ended;
    signal.addEventListener("abort", () => ending.abort(), { once: true });
    this.#options.onFree.listener = (capabilities) => this.#onFree(capabilities);
    const on = (inner: AbortSignal) => ({ log, signal: inner });
    const outcome = this.#leading((message) => settlement.outcome(message));
    const outcomes = this.#leading((message) => settlement.outcomes(message));
    const cancel = this.#leading((message) => this.#cancel(message));
    try {
      await together(signal, [
        (inner) => Promise.race([this.#broken.promise, aborted(inner)]),
        (inner) => listen(nc, outcomeSubject("*", "*"), outcome, on(inner)),
        (inner) => listen(nc, outcomesSubject("*"), outcomes, on(inner)),
        (inner) => listen(nc, progressSubject("*", "*"), (m) => settlement.progress(m), on(inner)),
        (inner) => listen(nc, cancelSubject("*"), cancel, on(inner)),
        (inner) => answer(nc, heldSubject("*"), (m) => this.#held(m), on(inner)),
        (inner) => answer(nc, moveSubject("*"), (m) => this.#move(m), on(inner)),
        (inner) => answer(nc, syncSubject("*"), (m) => this.#sync(m), on(inner)),
        (inner) => this.#sweep(inner),
        (inner) => this.#auditor.run(inner),
        (inner) => this.#takeOver(inner),
      ]);
    } finally {
      ending.abort();
      this.#options.onFree.listener = undefined;
      this.#lanes.close();
      // What is answered from now on finds nothing to do: the slots are the next term's to give.
      for (const held of this.#tasks.values()) held.phase = "left";
    }
  }

  /** What it has in hand, to be counted. */
  get holding(): Holding {
    const settled = this.#settled && this.#options.trusted();
    return { settled, tasks: this.#tasks, delivered: (...lane) => this.#lanes.delivered(...lane) };
  }

  /** The server is another one, or the servers are fewer: what was on its way there and back may be lost. */
  onServers(): void {
    if (this.#ended.signal.aborted) return;
    this.#lanes.forgetPulls();
    this.#replenishAll();
  }

  /** A node's connection closed: it is given nothing for now. Whether it is gone, others say. */
  onDisconnect(nodeId: string): void {
    const { config, deps, fleet } = this.#options;
    if (!this.#ended.signal.aborted) fleet.shun(nodeId, deps.clock.elapsed() + config.shunMs);
  }

  async #takeOver(signal: AbortSignal): Promise<void> {
    const { deps, fleet } = this.#options;
    await this.#lanes.takeOver();
    await this.#openLanes([...fleet.capabilities()]);
    this.#tookOver = true;
    this.#settle();
    deps.log.info({ unsettled: this.#lanes.unsettled }, "took over");
    await this.#lanes.recover(signal);
  }

  /**
   * Once everything that was in the old leader's hands is in ours and its record read, the slots in
   * use are known: those who waited for it may go on.
   */
  #settle(): void {
    if (!this.#settled) {
      if (!this.#tookOver || this.#lanes.unsettled > 0 || this.#examining > 0) return;
      this.#settled = true;
      const { deps, meters } = this.#options;
      deps.log.info({ tasks: this.#tasks.size }, "settled");
      meters.takeover.observeMs(deps.clock.elapsed() - this.#beganAtMs);
      this.#dispatcher.pump([...this.#options.fleet.capabilities()]);
    }
    this.#replenishAll();
  }

  #deliver(delivery: Delivery): void {
    if (!this.#options.trusted()) return;
    const parsed = this.#sampled(parseTask(delivery), delivery);
    const known = this.#tasks.get(parsed.id);
    if (known !== undefined) {
      this.#deliverAgain(known, parsed.retryAttempt, delivery);
      return;
    }
    const held = new HeldTask(parsed, delivery, this.#options.deps.clock.elapsed());
    this.#tasks.set(held.id, held);
    if (held.retryAttempt === undefined) this.#auditor.submitted(held);
    if (parsed.problem !== undefined) {
      const { problem } = parsed;
      this.#spawnFor(
        held,
        held.exclusive(() => this.#settlement.reject(held, problem)),
      );
    } else if (delivery.examine) {
      this.#examining++;
      const examined = held.exclusive(() => this.#dispatcher.examine(held));
      this.#spawnFor(
        held,
        examined.finally(() => {
          this.#examining--;
          this.#settle();
        }),
      );
    } else {
      this.#dispatcher.place(held);
    }
    this.#touch(held.capability);
  }

  /** Begins a trace for some of the tasks that came without one, if that is asked for. */
  #sampled(parsed: ParsedTask, delivery: Delivery): ParsedTask {
    const { config, deps } = this.#options;
    if (config.traceRatio === 0 || parsed.options.trace !== undefined || delivery.examine)
      return parsed;
    if (deps.random() >= config.traceRatio) return parsed;
    const { id, capability, lane: precedence } = parsed;
    const trace = beginTrace({ id, capability, precedence, storedAtMs: delivery.storedAtMs });
    return trace === undefined ? parsed : { ...parsed, options: { ...parsed.options, trace } };
  }

  /** Another message of a task in hand: the same one again, its successor, or a second submit. */
  #deliverAgain(known: HeldTask, retryAttempt: number | undefined, delivery: Delivery): void {
    if (known.stream === delivery.stream && known.seq === delivery.seq) {
      known.ack = delivery.ack;
      return;
    }
    if (retryAttempt !== undefined) {
      // The retry may overtake the end of the try before it: look again when that is done.
      this.#spawnFor(
        known,
        known.exclusive(async () => {
          setImmediate(() => this.#deliverOrDrop(known, retryAttempt, delivery));
        }),
      );
      return;
    }
    this.#records.acknowledge(delivery.ack);
  }

  #deliverOrDrop(known: HeldTask, retryAttempt: number, delivery: Delivery): void {
    if (this.#ended.signal.aborted) return;
    if (known.gone) this.#deliver(delivery);
    else if (retryAttempt <= (known.record?.attempt ?? 0)) this.#records.acknowledge(delivery.ack);
    // Else: unacknowledged, it comes again after the ack-wait.
  }

  #forget(held: HeldTask): void {
    if (this.#tasks.get(held.id) === held) this.#tasks.delete(held.id);
    this.#touch(held.capability);
  }

  #onFree(capabilities: readonly string[]): void {
    if (this.#backlog.size > 0 && this.#settled) this.#dispatcher.pump(capabilities);
    for (const capability of capabilities) this.#touch(capability);
  }

  /** Notes that the capability may want more tasks; all that is noted in one turn is one look. */
  #touch(capability: string): void {
    if (this.#dirty.size === 0) queueMicrotask(() => this.#replenish());
    this.#dirty.add(capability);
  }

  #replenishAll(): void {
    for (const capability of this.#options.fleet.capabilities()) this.#touch(capability);
  }

  #replenish(): void {
    const { fleet, trusted } = this.#options;
    const capabilities = [...this.#dirty];
    this.#dirty.clear();
    if (this.#ended.signal.aborted || !this.#settled || !trusted()) return;
    for (const capability of capabilities) {
      if (this.#lanes.has(capability)) {
        const room = Math.min(fleet.free(capability), RUNNING_MAX - this.#tasks.size);
        this.#lanes.pull(capability, room - this.#backlog.ready(capability));
      } else if (fleet.free(capability) > 0) {
        this.#openLanes([capability]).catch((error) => {
          // The next sweep tries again.
          this.#options.deps.log.warn({ capability, err: error }, "lanes not opened");
        });
      }
    }
  }

  async #openLanes(capabilities: readonly string[]): Promise<void> {
    for (const capability of capabilities) {
      if (this.#lanes.has(capability)) continue;
      await this.#lanes.open(capability);
      this.#touch(capability);
    }
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    const { config, deps, fleet } = this.#options;
    for await (const _ of ticks({ clock: deps.clock, everyMs: config.sweepIntervalMs, signal })) {
      if (!this.#options.trusted()) continue;
      const now = deps.clock.elapsed();
      fleet.forgive(now);
      this.#lanes.sweep();
      this.#vigil.sweep(now);
      this.#replenishAll();
      if (this.#tookOver) void this.#strays.look();
    }
  }

  async #cancel(message: Msg): Promise<unknown> {
    const taskId = lastTokenOf(message.subject);
    if (!isTaskId(taskId)) throw new RefusedError("bad_request", "that is no task id");
    const { record, changed } = await this.#settlement.cancel(taskId);
    if (changed) this.#auditor.cancelled(record, askerOf(message));
    return record;
  }

  #held(message: Msg): unknown {
    this.#requireTrust();
    const request = decode(HeldRequest, message.data);
    if (!request.ok) throw new RefusedError("bad_request", request.problem);
    return this.#settlement.held(lastTokenOf(message.subject), request.value.incarnation);
  }

  #move(message: Msg): Promise<unknown> {
    this.#requireTrust();
    const request = decode(MoveRequest, message.data);
    if (!request.ok) throw new RefusedError("bad_request", request.problem);
    return this.#settlement.move(lastTokenOf(message.subject), request.value);
  }

  #sync(message: Msg): SyncAnswer {
    this.#requireTrust();
    const request = decode(SyncRequest, message.data);
    if (!request.ok) throw new RefusedError("bad_request", request.problem);
    if (!NodeId.safeParse(lastTokenOf(message.subject)).success) {
      throw new RefusedError("bad_request", "that is no node id");
    }
    return this.#snapshot.answer(request.value.hash);
  }

  /** Answers only while this term may act: another leader may have heard the same request. */
  #leading(handle: (message: Msg) => Promise<unknown>): (message: Msg) => void {
    return answering(async (message) => {
      if (!this.#options.trusted()) return undefined;
      try {
        const value = await handle(message);
        // What was decided while trust ran out may rest on what was never written.
        return this.#options.trusted() ? value : undefined;
      } catch (error) {
        // The next leader is asked again.
        if (error instanceof TermOverError) return undefined;
        throw error;
      }
    }, this.#options.deps.log);
  }

  #requireTrust(): void {
    if (!this.#options.trusted()) throw new RefusedError("not_leader", "this term is over", true);
  }

  /**
   * Work on one task that nobody waits for. Whatever goes wrong with it is that task's trouble and
   * not the term's: a task that ended terms would end each of them.
   */
  #spawnFor(held: HeldTask, work: Promise<unknown>): void {
    work.catch((error: unknown) => {
      if (error instanceof TermOverError || this.#ended.signal.aborted) return;
      this.#options.deps.log.error({ taskId: held.id, err: error }, "task set aside");
      this.#dispatcher.setAside(held);
    });
  }
}
