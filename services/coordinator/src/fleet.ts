/**
 * The fleet as the coordinator sees it: who is active, what each offers, how many slots are free.
 *
 * Rebuilt from `mesh_nodes` and `mesh_leases` at any time; the slots in use are this leader's own
 * count of what it gave out. Free slots per capability are kept up to date on every change, because
 * every task asks for them.
 */
import type { NodeLease, NodeRecord } from "@swarm-mesh/protocol";
import type { Candidate } from "./routing.ts";

/** An agent of a node; its slots are shared by its capabilities. */
interface Seat extends Candidate {
  readonly node: FleetNode;
  readonly capabilities: readonly string[];
}

interface FleetNode {
  readonly id: string;
  record: NodeRecord;
  lease: NodeLease | undefined;
  /** Its agents in the life {@link seatsOf}, with what they hold. */
  seats: Seat[];
  seatsOf: number;
  /** Are its seats among the candidates? */
  seated: boolean;
  /** No task goes there until then: it refused one, or nobody answered. */
  shunnedUntilMs: number;
}

/** A slot given to a task, to be given back once. */
export interface Slot {
  readonly node: string;
  readonly incarnation: number;
  readonly host: string;
  /** @internal */
  readonly seat: Seat;
  released: boolean;
}

/** A slot somewhere became free, or a node came: tasks for these capabilities may be placed. */
export type OnFree = (capabilities: readonly string[]) => void;

export class Fleet {
  readonly #nodes = new Map<string, FleetNode>();
  readonly #candidates = new Map<string, Seat[]>();
  readonly #free = new Map<string, number>();
  /** As operators say; they outlast terms, and may name what is not there. */
  readonly #paused = new Set<string>();
  readonly #cordoned = new Set<string>();
  readonly #onFree: OnFree;
  #given = 0;
  #version = 0;

  constructor(onFree: OnFree) {
    this.#onFree = onFree;
  }

  /** Free slots of the nodes that offer `capability`; none while it is paused. */
  free(capability: string): number {
    if (this.#paused.has(capability)) return 0;
    return this.#free.get(capability) ?? 0;
  }

  /** Capabilities that some routable node offers. */
  capabilities(): IterableIterator<string> {
    return this.#candidates.keys();
  }

  /** Who offers `capability`; may be full. */
  candidates(capability: string): readonly Candidate[] {
    return this.#candidates.get(capability) ?? [];
  }

  /** Serial number for {@link Candidate.lastGiven} and the turn of a choice. */
  get given(): number {
    return this.#given;
  }

  /** Another number whenever a record has changed. */
  get version(): number {
    return this.#version;
  }

  /** Slots of all routable nodes, and how many of them are used. */
  slots(): { readonly all: number; readonly used: number } {
    let all = 0;
    let used = 0;
    for (const node of this.#nodes.values()) {
      if (!node.seated) continue;
      for (const seat of node.seats) {
        all += seat.slots;
        used += seat.used;
      }
    }
    return { all, used };
  }

  record(nodeId: string): NodeRecord | undefined {
    return this.#nodes.get(nodeId)?.record;
  }

  records(): NodeRecord[] {
    return [...this.#nodes.values()].map((node) => node.record);
  }

  /** Is this life of the node over, or was there never such a one? */
  isGone(nodeId: string, incarnation: number): boolean {
    const record = this.#nodes.get(nodeId)?.record;
    if (record === undefined) return true;
    if (record.state === "FAILED" || record.state === "LEFT") return true;
    // While JOINING the record still names the life before.
    if (record.state === "JOINING") return true;
    return record.incarnation !== incarnation;
  }

  /** Notes a node's record and the lease that goes with it; `undefined`: the record is gone. */
  hearRecord(nodeId: string, record: NodeRecord | undefined, lease: NodeLease | undefined): void {
    const known = this.#nodes.get(nodeId);
    this.#version++;
    if (record === undefined) {
      if (known !== undefined) this.#unseat(known);
      this.#nodes.delete(nodeId);
      return;
    }
    const node: FleetNode = known ?? {
      id: nodeId,
      record,
      lease,
      seats: [],
      seatsOf: -1,
      seated: false,
      shunnedUntilMs: 0,
    };
    this.#nodes.set(nodeId, node);
    node.record = record;
    this.hearLease(nodeId, lease);
  }

  /** Notes a node's lease; `undefined`: it expired or was given back. */
  hearLease(nodeId: string, lease: NodeLease | undefined): void {
    const node = this.#nodes.get(nodeId);
    if (node === undefined) return;
    node.lease = lease;
    if (lease !== undefined) for (const seat of node.seats) seat.rttMs = lease.rttMs;
    this.#reseat(node);
  }

  /** Takes a slot of the candidate chosen. */
  take(candidate: Candidate): Slot {
    const seat = candidate as Seat;
    seat.used++;
    seat.lastGiven = ++this.#given;
    if (seat.node.seated) this.#count(seat, -1);
    return {
      node: seat.id,
      incarnation: seat.node.record.incarnation,
      host: seat.host,
      seat,
      released: false,
    };
  }

  /**
   * Notes that a task under way holds a slot of its node, which may be one that is given nothing
   * now; `undefined` when that life of the node is not there.
   */
  occupy(nodeId: string, incarnation: number, capability: string): Slot | undefined {
    const node = this.#nodes.get(nodeId);
    if (node === undefined || node.record.incarnation !== incarnation) return undefined;
    this.#refreshSeats(node);
    const able = node.seats.filter((one) => one.capabilities.includes(capability));
    const seat = able.find((one) => one.used < one.slots) ?? able[0];
    return seat === undefined ? undefined : this.take(seat);
  }

  /** Gives a slot back. A repeat does nothing. */
  release(slot: Slot): void {
    if (slot.released) return;
    slot.released = true;
    const { seat } = slot;
    seat.used--;
    // A seat of an earlier life of the node counts no more.
    if (!seat.node.seated || !seat.node.seats.includes(seat)) return;
    this.#count(seat, 1);
    this.#onFree(seat.capabilities);
  }

  /** Sends nothing to the node until `untilMs`: it refused, or nobody answered. */
  shun(nodeId: string, untilMs: number): void {
    const node = this.#nodes.get(nodeId);
    if (node === undefined) return;
    node.shunnedUntilMs = untilMs;
    this.#reseat(node);
  }

  /** Takes back those whose time is over. Call it now and then. */
  forgive(nowMs: number): void {
    for (const node of this.#nodes.values()) {
      if (node.shunnedUntilMs === 0 || node.shunnedUntilMs > nowMs) continue;
      node.shunnedUntilMs = 0;
      this.#reseat(node);
    }
  }

  /** Notes whether tasks of the capability are held back. What runs goes on. */
  pause(capability: string, paused: boolean): void {
    if (paused) this.#paused.add(capability);
    else if (this.#paused.delete(capability)) this.#onFree([capability]);
  }

  /** Notes whether the node is given nothing new, in this life and in others. What it has it keeps. */
  cordon(nodeId: string, cordoned: boolean): void {
    if (cordoned) this.#cordoned.add(nodeId);
    else this.#cordoned.delete(nodeId);
    const node = this.#nodes.get(nodeId);
    if (node !== undefined) this.#reseat(node);
  }

  /** Begins a term with every slot free: what an earlier term gave out is for the records to say. */
  reset(): void {
    for (const node of this.#nodes.values()) {
      this.#unseat(node);
      node.seatsOf = -1;
      node.shunnedUntilMs = 0;
      this.#reseat(node);
    }
  }

  /** Makes its seats candidates, or no longer, as its state asks. */
  #reseat(node: FleetNode): void {
    const routable = isRoutable(node) && !this.#cordoned.has(node.id);
    if (node.seated && (!routable || node.seatsOf !== node.record.incarnation)) this.#unseat(node);
    if (!routable || node.seated) return;
    this.#refreshSeats(node);
    for (const seat of node.seats) {
      for (const capability of seat.capabilities) {
        const seats = this.#candidates.get(capability) ?? [];
        this.#candidates.set(capability, [...seats, seat]);
      }
      this.#count(seat, seat.slots - seat.used);
    }
    node.seated = true;
    this.#onFree(node.record.capabilities);
  }

  /** A new life of a node has new seats, all free. */
  #refreshSeats(node: FleetNode): void {
    if (node.seatsOf === node.record.incarnation) return;
    this.#unseat(node);
    node.seats = seatsOf(node);
    node.seatsOf = node.record.incarnation;
  }

  #unseat(node: FleetNode): void {
    if (!node.seated) return;
    node.seated = false;
    for (const seat of node.seats) {
      this.#count(seat, seat.used - seat.slots);
      for (const capability of seat.capabilities) {
        const left = (this.#candidates.get(capability) ?? []).filter((one) => one !== seat);
        if (left.length > 0) this.#candidates.set(capability, left);
        else this.#candidates.delete(capability);
      }
    }
  }

  #count(seat: Seat, change: number): void {
    for (const capability of seat.capabilities) {
      this.#free.set(capability, (this.#free.get(capability) ?? 0) + change);
    }
  }
}

function isRoutable(node: FleetNode): boolean {
  return (
    node.record.state === "ACTIVE" &&
    node.shunnedUntilMs === 0 &&
    node.lease?.incarnation === node.record.incarnation
  );
}

function seatsOf(node: FleetNode): Seat[] {
  return node.record.agents.map((agent) => ({
    id: node.id,
    host: node.record.host,
    labels: node.record.labels,
    used: 0,
    slots: agent.slots,
    rttMs: node.lease?.rttMs ?? 0,
    costPerHour: node.record.costPerHour,
    lastGiven: 0,
    node,
    capabilities: agent.capabilities,
  }));
}
