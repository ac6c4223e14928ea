/**
 * Brings tasks to nodes: chooses one, writes the record, sends the task, and finds another when the
 * node is gone or refuses.
 *
 *     waiting ──place──▶ starting ──record stored──▶ running ──outcome──▶ left
 *        ▲                  │ conflict: read again      │ no responders, refused, node lost
 *        └──────────────────┴───────────────────────────┘ move: attempt + 1
 */
import type { Reply } from "@swarm-mesh/bus";
import {
  DispatchAnswer,
  decode,
  isFinal,
  type MoveReason,
  Refusal,
  type TaskRecord,
} from "@swarm-mesh/protocol";
import { type Clock, type Log, timeOf } from "@swarm-mesh/runtime";
import type { Backlog } from "./backlog.ts";
import type { Config } from "./config.ts";
import type { Courier } from "./courier.ts";
import type { Fleet, Slot } from "./fleet.ts";
import type { HeldTask } from "./held-task.ts";
import { adopted, decideMessage, moved, started } from "./lifecycle.ts";
import type { CoordinatorMeters } from "./meters.ts";
import type { Records } from "./records.ts";
import { choose, type Wish } from "./routing.ts";

/** Payloads above it are not kept while their task waits; the stream has them. */
const KEPT_PAYLOAD_MAX_BYTES = 4 * 1024;

export interface DispatcherOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Log;
  readonly meters: CoordinatorMeters;
  readonly courier: Courier;
  readonly records: Records;
  readonly fleet: Fleet;
  readonly backlog: Backlog<HeldTask>;
  readonly epoch: number;
  readonly localHost: string;
  /** Runs work on a task that nobody waits for; when it fails the task is set aside. */
  readonly spawn: (held: HeldTask, work: Promise<unknown>) => void;
  /**
   * Is everything that was in the old leader's hands in ours? Until then the slots that are in use
   * are not all known, and new tasks wait.
   */
  readonly settled: () => boolean;
  /** The task is out of our hands. */
  readonly onLeft: (held: HeldTask) => void;
}

/** How a try is sent. */
interface Sending {
  readonly payload: Uint8Array;
  readonly saved: Uint8Array | undefined;
  /** Does it want an answer? */
  readonly asks: boolean;
  /** Was the try sent before, maybe by another leader? Then the node may be running it. */
  readonly again: boolean;
}

export class Dispatcher {
  readonly #options: DispatcherOptions;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** Gives the task to a node, or keeps it until one is free. */
  place(held: HeldTask): void {
    const { backlog, config, settled, spawn } = this.#options;
    const slot = settled() ? this.#slotFor(held, undefined) : undefined;
    if (slot !== undefined) {
      this.#start(held, slot);
      return;
    }
    if (held.requires !== undefined && backlog.apart >= config.apartMax) {
      spawn(
        held,
        held.exclusive(() => this.#putBack(held, config.apartDelayMs)),
      );
      return;
    }
    if (held.payloadBytes > KEPT_PAYLOAD_MAX_BYTES) held.payload = undefined;
    backlog.push(held);
  }

  /** Gives waiting tasks of these capabilities to the nodes that have become free. */
  pump(capabilities: readonly string[]): void {
    const { backlog, fleet } = this.#options;
    while (backlog.size > 0) {
      const open = capabilities.filter((capability) => fleet.free(capability) > 0);
      if (open.length === 0) return;
      const held = backlog.take(open, (capability, requires) =>
        requires === undefined
          ? fleet.free(capability) > 0
          : choose(fleet.candidates(capability), anyNode(requires), 0) !== undefined,
      );
      if (held === undefined) return;
      const slot = this.#slotFor(held, undefined);
      if (slot === undefined) {
        backlog.push(held);
        return;
      }
      this.#start(held, slot);
    }
  }

  /** Reads the task's record and goes on from there: place, adopt, schedule or drop. */
  async examine(held: HeldTask): Promise<void> {
    const { records } = this.#options;
    const there = await records.read(held.id);
    held.record = there.record;
    held.revision = there.revision;
    const decision = decideMessage(there.record, held.retryAttempt);
    switch (decision.kind) {
      case "place":
        this.place(held);
        return;
      case "adopt":
        await this.#adopt(held);
        return;
      case "schedule": {
        const dueAtMs = timeOf(there.record?.dueAt ?? "") || undefined;
        await records.postpone(held, (there.record?.attempt ?? 0) + 1, dueAtMs);
        this.#letGo(held);
        return;
      }
      case "drop":
        await this.drop(held);
        return;
    }
  }

  /** Takes the current try from its node and gives the next one to another. Inside `exclusive`. */
  async move(held: HeldTask, reason: MoveReason): Promise<void> {
    const { records, epoch, log, meters } = this.#options;
    const record = held.record;
    // A task that was cancelled while someone asked for this stays where it is.
    if (record?.status !== "running" || held.gone) return;
    this.#releaseSlot(held);
    const left = moved(record, reason, { epoch, at: records.now() });
    log.info({ taskId: held.id, attempt: record.attempt, from: record.node, reason }, "task moved");
    meters.moves.of(reason).inc();
    held.traced?.moving(record, reason);
    if (left.kind === "final") {
      if (!(await records.write(held, left.record))) return this.examine(held);
      await records.bury(held, left.record);
      this.#letGo(held);
      return;
    }
    const slot = this.#slotFor(held, record.node ?? undefined);
    if (slot !== undefined) {
      // One write for both: it left the one and runs on the other.
      held.record = left.record;
      held.payload = await records.payload(held);
      await this.#begin(held, slot);
      return;
    }
    if (!(await records.write(held, left.record))) return this.examine(held);
    await records.postpone(held, left.record.attempt + 1, undefined);
    this.#letGo(held);
  }

  /** Sends the current try once more: a node that has it takes it as a question. Inside `exclusive`. */
  async question(held: HeldTask): Promise<void> {
    if (!held.underWay || held.asked) return;
    held.accepted = false;
    await this.#send(held, { asks: true, again: true });
  }

  /** Its node will not have it: it goes to another, and the node is left alone for a while. Inside `exclusive`. */
  async refused(held: HeldTask, node: string, reason: MoveReason): Promise<void> {
    const { fleet, clock, config } = this.#options;
    fleet.shun(node, clock.elapsed() + config.shunMs);
    await this.move(held, reason);
  }

  #slotFor(held: HeldTask, except: string | undefined): Slot | undefined {
    const { fleet, localHost } = this.#options;
    if (fleet.free(held.capability) <= 0) return undefined;
    const wish: Wish = {
      strategy: held.options.strategy,
      requires: held.options.requires,
      prefer: held.options.prefer,
      payloadBytes: held.payloadBytes,
      localHost,
    };
    const all = fleet.candidates(held.capability);
    const others = except === undefined ? all : all.filter((one) => one.id !== except);
    // The node it left may have it again when there is no other.
    const chosen = choose(others, wish, fleet.given) ?? choose(all, wish, fleet.given);
    return chosen === undefined ? undefined : fleet.take(chosen);
  }

  #start(held: HeldTask, slot: Slot): void {
    held.phase = "starting";
    this.#options.spawn(
      held,
      held.exclusive(() => this.#begin(held, slot)),
    );
  }

  /** Writes the record of the next try, then sends it. */
  async #begin(held: HeldTask, slot: Slot): Promise<void> {
    const { records, fleet, epoch, clock, meters } = this.#options;
    const chosenAtMs = clock.elapsed();
    if (held.gone) {
      fleet.release(slot);
      return;
    }
    if (held.record !== undefined && isFinal(held.record.status)) {
      // Found to be over, or cancelled, while it waited for the slot.
      fleet.release(slot);
      return this.drop(held);
    }
    const next = started(held, held.record, {
      node: slot.node,
      incarnation: slot.incarnation,
      epoch,
      at: records.now(),
    });
    held.phase = "starting";
    held.slot = slot;
    if (!(await records.write(held, next))) {
      this.#releaseSlot(held);
      held.phase = "waiting";
      await this.examine(held);
      return;
    }
    held.phase = "running";
    held.orphanSinceMs = undefined;
    held.accepted = false;
    held.startedAtMs = clock.elapsed();
    held.traced?.began(next);
    const asks = this.#options.fleet.record(slot.node)?.batches !== true;
    const how = { asks, again: false };
    if (asks || held.payload === undefined || next.attempt > 1) await this.#send(held, how);
    else this.#sendNow(held, next, { payload: held.payload, saved: undefined, ...how });
    meters.dispatch.observeMs(held.sentAtMs - chosenAtMs);
  }

  /** Sends the current try, with what belongs to it. */
  async #send(held: HeldTask, how: Pick<Sending, "asks" | "again">): Promise<void> {
    const { records } = this.#options;
    const record = held.record;
    if (record === undefined || record.node === null) return;
    const saved = record.attempt > 1 ? await records.checkpoint(record) : undefined;
    const payload = await records.payload(held);
    if (payload === undefined) {
      // The message is gone from the stream: someone settled the task while we looked.
      this.#letGo(held);
      return;
    }
    this.#sendNow(held, record, { payload, saved, ...how });
  }

  #sendNow(held: HeldTask, record: TaskRecord, what: Sending): void {
    const { courier, clock, config } = this.#options;
    held.sentAtMs = clock.elapsed();
    const parcel = { held, record, payload: what.payload, saved: what.saved };
    if (!what.asks) {
      courier.send(parcel);
      // It has to be read again for the rare node that stays silent.
      if (held.payloadBytes > KEPT_PAYLOAD_MAX_BYTES) held.payload = undefined;
      return;
    }
    const { attempt } = record;
    held.asked = true;
    courier.ask(parcel, config.acceptTimeoutMs, (reply) => {
      held.asked = false;
      if (held.underWay && held.record?.attempt === attempt && !held.accepted) {
        this.#onReply(held, reply, what.again);
      }
    });
  }

  /**
   * The answer to a try that was sent, `again` or for the first time. Nobody there for the first time
   * means that the node never had it. Nobody there for a question says only that the node is not
   * connected now: it may be running the try, and is asked again. Whether it is gone is for the health
   * monitor to say; then the migrator has its tasks moved.
   */
  #onReply(held: HeldTask, reply: Reply, again: boolean): void {
    const { spawn, fleet, clock, config } = this.#options;
    const node = held.record?.node ?? "";
    const attempt = held.record?.attempt;
    const away = (reason: MoveReason): void => {
      spawn(
        held,
        held.exclusive(async () => {
          if (!held.underWay || held.record?.attempt !== attempt) return;
          await this.refused(held, node, reason);
        }),
      );
    };
    if (reply.kind === "no-responders") {
      if (again) fleet.shun(node, clock.elapsed() + config.shunMs);
      else away("no_responders");
      return;
    }
    if (reply.kind === "timeout") {
      // Asked again for as long as the node lives.
      spawn(
        held,
        held.exclusive(() => this.question(held)),
      );
      return;
    }
    if (decode(DispatchAnswer, reply.message.data).ok) {
      held.accepted = true;
      held.payload = undefined;
      return;
    }
    const refusal = decode(Refusal, reply.message.data);
    const code = refusal.ok ? refusal.value.error.code : "no answer it could read";
    this.#options.log.warn({ taskId: held.id, nodeId: node, code }, "node refused a task");
    this.#options.meters.refusedByNodes.inc();
    away("refused");
  }

  /** A node has the task from before this term, or had it. */
  async #adopt(held: HeldTask): Promise<void> {
    const { records, fleet, epoch } = this.#options;
    const record = held.record;
    if (record === undefined || record.node === null) return;
    if (fleet.isGone(record.node, record.incarnation ?? 0)) {
      await this.move(held, "node_failed");
      return;
    }
    if (!(await records.write(held, adopted(record, epoch)))) return this.examine(held);
    this.#options.meters.offered(held.capability);
    held.traced?.began(record, true);
    held.slot = fleet.occupy(record.node, record.incarnation ?? 0, held.capability);
    held.phase = "running";
    await this.question(held);
  }

  /** Lets go of a task that is over. Inside `exclusive`. */
  async drop(held: HeldTask): Promise<void> {
    const record = held.record;
    // Whoever wrote the final record may have died before the dead letter.
    if (record?.status === "failed" || record?.status === "rejected") {
      await this.#options.records.bury(held, record);
    }
    this.#letGo(held);
  }

  async #putBack(held: HeldTask, delayMs: number): Promise<void> {
    const { records, clock } = this.#options;
    if (held.gone) return;
    await records.postpone(held, (held.record?.attempt ?? 0) + 1, clock.now() + delayMs);
    this.#letGo(held);
  }

  /** Acknowledges the message and forgets the task. */
  #letGo(held: HeldTask): void {
    this.#releaseSlot(held);
    held.phase = "left";
    held.traced?.close(held.record?.status);
    this.#options.records.acknowledge(held.ack);
    this.#options.onLeft(held);
  }

  /**
   * Forgets the task without acknowledging its message, which comes again after the ack-wait; then
   * its record says how far it got.
   */
  setAside(held: HeldTask): void {
    if (held.gone) return;
    this.#releaseSlot(held);
    held.phase = "left";
    held.traced?.close(held.record?.status);
    this.#options.onLeft(held);
  }

  /** As {@link #letGo}, for those who settle a task elsewhere. */
  settle(held: HeldTask): void {
    this.#letGo(held);
  }

  #releaseSlot(held: HeldTask): void {
    if (held.slot !== undefined) this.#options.fleet.release(held.slot);
    held.slot = undefined;
  }
}

function anyNode(requires: Wish["requires"]): Wish {
  return {
    strategy: "least_loaded",
    requires,
    prefer: undefined,
    payloadBytes: 0,
    localHost: "",
  };
}
