/**
 * Liveness: who is alive, judged from records, leases, pings and the server's word.
 *
 *     ACTIVE ⇄ DEGRADED          renewals late or the event loop slow ⇄ two timely renewals
 *     living ──▶ suspect         the server closed its connection, or its lease is gone
 *     suspect ──▶ living         its life answers a ping
 *     suspect ──▶ FAILED         fast: nobody listens, and again after the grace
 *                                slow: the lease is gone and a ping is unanswered
 *
 * Events only bring a ping forward; the fast path needs two pings that nobody was there to hear. It
 * is shut (the brake) while too many nodes are suspect at once, which is more likely our own trouble
 * than theirs, and for each node (abstention) until it was heard renewing since this observer's own
 * link last came up. A node not heard since then is failed only after `abstainMs`, when its lease
 * is gone and two pings were unanswered. Every time here is one reading of one monotonic clock.
 */
import type { ProcessConfig } from "@swarm-mesh/process";
import type { NodeState } from "@swarm-mesh/protocol";
import type { Settings } from "./config.ts";
import { Inquiry, type Unanswered } from "./inquiry.ts";

/** The numbers of the configuration that judgement needs. */
export type LivenessLimits = Omit<
  Settings,
  keyof ProcessConfig | "pingTimeoutMs" | "sweepIntervalMs"
>;

/** What a record says, as far as it matters here. */
export interface RecordSeen {
  readonly state: NodeState;
  readonly incarnation: number;
  readonly revision: number;
}

/** What is to be done about a node. */
export type LivenessCommand =
  | { readonly kind: "ping"; readonly id: string; readonly serial: number }
  | {
      readonly kind: "write";
      readonly id: string;
      readonly to: "FAILED" | "DEGRADED" | "ACTIVE";
      readonly revision: number;
      readonly reason: string;
    };

/** Why the fast path is shut. */
export interface Brake {
  readonly suspectCount: number;
  readonly failedCount: number;
  readonly livingCount: number;
  /** Nodes that would have been failed now. */
  readonly withheldCount: number;
}

/** What came of one look at all nodes. */
export interface Judgement {
  readonly commands: readonly LivenessCommand[];
  /** When to judge again at the latest; `undefined`: when something is heard. */
  readonly nextAtMs: number | undefined;
  /** Set while too many are suspect. */
  readonly brake: Brake | undefined;
}

interface Watched {
  state: NodeState;
  readonly incarnation: number;
  revision: number;
  readonly since: number;
  leaseGoneAt: number | undefined;
  inquiry: Inquiry | undefined;
  /** No command before: a write is on its way, or was refused a moment ago. */
  busyUntil: number;
}

interface LeaseSeen {
  readonly incarnation: number;
  readonly lagMs: number;
  readonly heardAt: number;
  /** Renewals in a row that came in time, from a node that was not slow. */
  readonly timely: number;
}

const LIVING: ReadonlySet<NodeState> = new Set(["ACTIVE", "SYNCING", "DEGRADED", "LEAVING"]);
/** A record may be seen before its lease, in two views of two buckets: this long it is no sign. */
const LEASE_SETTLE_MS = 1_000;
/** Timely renewals in a row that end DEGRADED: one may be luck. */
const RECOVERY_RENEWALS = 2;
/** How long a stored write may take to come back in the view, and a refused one rests. */
const WRITE_SETTLE_MS = 1_000;
const WRITE_REST_MS = 250;

/** What one observer knows of all nodes. It changes in place, is told the time, and does nothing. */
export class Liveness {
  readonly #limits: LivenessLimits;
  readonly #nodes = new Map<string, Watched>();
  readonly #leases = new Map<string, LeaseSeen>();
  /** The incarnation that was heard renewing since our link came up. */
  readonly #renewed = new Map<string, number>();
  readonly #asked = new Map<number, string>();
  readonly #writing = new Set<string>();
  /** Nodes that failed and have not come back, and when. */
  readonly #failedAt = new Map<string, number>();
  #linkUp = true;
  #linkUpAt: number;
  #storeSlowUntil = Number.NEGATIVE_INFINITY;
  #serial = 0;

  /** At `now` the observer's link is up. A new observer has heard nothing, so it abstains as well. */
  constructor(limits: LivenessLimits, now: number) {
    this.#limits = limits;
    this.#linkUpAt = now;
  }

  /** Nodes that are being asked. */
  get suspectCount(): number {
    let count = 0;
    for (const { inquiry } of this.#nodes.values()) if (inquiry !== undefined) count++;
    return count;
  }

  /** Since when the node is being asked; `undefined`: it is not. */
  suspectSince(id: string): number | undefined {
    return this.#nodes.get(id)?.inquiry?.openedAt;
  }

  /** The node's record changed, or is gone (`undefined`). A repeat changes nothing. */
  heardRecord(id: string, record: RecordSeen | undefined, now: number): void {
    const known = this.#nodes.get(id);
    if (record === undefined || !LIVING.has(record.state)) {
      if (known !== undefined && record?.state === "FAILED") this.#failedAt.set(id, now);
      this.#nodes.delete(id);
      // A joining node may have renewed already; one that is gone will not again.
      if (record?.state !== "JOINING") this.#renewed.delete(id);
      return;
    }
    this.#failedAt.delete(id);
    if (known?.incarnation === record.incarnation) {
      if (known.revision !== record.revision) known.busyUntil = now;
      known.state = record.state;
      known.revision = record.revision;
      return;
    }
    this.#nodes.set(id, {
      ...record,
      since: now,
      leaseGoneAt: undefined,
      inquiry: undefined,
      busyUntil: now,
    });
  }

  /** The node's lease was renewed. `fresh`: just now, not read back from before. */
  heardLease(
    id: string,
    lease: { readonly incarnation: number; readonly lagMs: number },
    fresh: boolean,
    now: number,
  ): void {
    const { incarnation, lagMs } = lease;
    const { degradedAfterMs, lagDegradedMs } = this.#limits;
    const before = this.#leases.get(id);
    const inTime = before?.incarnation === incarnation && now - before.heardAt < degradedAfterMs;
    const timely = inTime && lagMs <= lagDegradedMs / 2 ? before.timely + 1 : 0;
    this.#leases.set(id, { incarnation, lagMs, heardAt: now, timely });
    if (fresh) this.#renewed.set(id, incarnation);
    const node = this.#nodes.get(id);
    if (node === undefined) return;
    if (node.incarnation === incarnation) node.leaseGoneAt = undefined;
    else if (before?.incarnation === node.incarnation) this.#lost(id, node, now);
  }

  /** The node's lease expired or was given back. */
  leaseGone(id: string, now: number): void {
    const lease = this.#leases.get(id);
    this.#leases.delete(id);
    const node = this.#nodes.get(id);
    if (node !== undefined && lease?.incarnation === node.incarnation) this.#lost(id, node, now);
  }

  /** The server says that a connection of the node was closed: a hint, which only asks. */
  disconnected(id: string, now: number): void {
    const node = this.#nodes.get(id);
    if (node !== undefined && this.#linkUp) this.#raise(id, node, now);
  }

  pingAnswered(serial: number, incarnation: number, now: number): void {
    const asked = this.#settle(serial);
    if (asked === undefined) return;
    const { node, inquiry } = asked;
    if (node.incarnation !== incarnation) {
      inquiry.hearNothing("other-life", now, this.#limits);
    } else if (inquiry.hearAnswer(now)) {
      if (node.leaseGoneAt === undefined) node.inquiry = undefined;
      else inquiry.nextAt = now + this.#limits.recheckMs;
    }
  }

  pingUnanswered(serial: number, kind: Unanswered, now: number): void {
    const asked = this.#settle(serial);
    asked?.inquiry.hearNothing(kind, now, this.#limits);
  }

  /** A write ended, stored at `revision` or (`undefined`) not. The record itself tells the rest. */
  wrote(id: string, revision: number | undefined, now: number): void {
    this.#writing.delete(id);
    const node = this.#nodes.get(id);
    if (node === undefined) return;
    if (revision === undefined) node.busyUntil = now + WRITE_REST_MS;
    else if (node.revision < revision) node.busyUntil = now + WRITE_SETTLE_MS;
  }

  /** The observer's own link went down or came back: what was known before is no evidence after. */
  link(up: boolean, now: number): void {
    this.#linkUp = up;
    this.#linkUpAt = now;
    this.#renewed.clear();
    for (const node of this.#nodes.values()) node.inquiry = undefined;
  }

  /** What to do now. To be called only while the views of both buckets are current. */
  judge(now: number): Judgement {
    if (!this.#linkUp) return { commands: [], nextAtMs: undefined, brake: undefined };
    for (const [id, at] of this.#failedAt) {
      if (now - at >= this.#limits.massLossWindowMs) this.#failedAt.delete(id);
    }
    for (const [id, node] of this.#nodes) this.#reviewLease(id, node, now);
    const brake = this.#brake();
    // When it is back, nodes renew one after the other: the last are not slow for that.
    if (this.#isMany(this.#overdueCount(now))) {
      this.#storeSlowUntil = now + this.#limits.degradedAfterMs;
    }
    const storeIsSlow = now < this.#storeSlowUntil;
    const commands: LivenessCommand[] = [];
    let withheldCount = 0;
    let nextAtMs: number | undefined;
    for (const [id, node] of this.#nodes) {
      const verdict = this.#verdict(id, node, now);
      const isWithheld = verdict === "fast" && brake !== undefined;
      if (isWithheld) withheldCount++;
      else if (verdict !== undefined) {
        this.#command(commands, id, node, "FAILED", REASON[verdict]);
        continue;
      }
      this.#judgeLoad(commands, id, node, { now, storeIsSlow });
      const dueAt = this.#ask(commands, id, node, now);
      if (dueAt !== undefined) nextAtMs = Math.min(nextAtMs ?? dueAt, dueAt);
    }
    return { commands, nextAtMs, brake: brake && { ...brake, withheldCount } };
  }

  /** Opens an inquiry into a node whose lease is gone, or was never seen. */
  #reviewLease(id: string, node: Watched, now: number): void {
    const held = this.#leases.get(id)?.incarnation === node.incarnation;
    if (!held && node.leaseGoneAt === undefined && now - node.since >= LEASE_SETTLE_MS) {
      this.#lost(id, node, now);
    }
    if (node.leaseGoneAt !== undefined && node.inquiry === undefined) this.#raise(id, node, now);
  }

  #lost(id: string, node: Watched, now: number): void {
    node.leaseGoneAt = now;
    this.#raise(id, node, now);
  }

  #raise(id: string, node: Watched, now: number): void {
    // Who was not heard since our link came up may be coming back, too.
    const nextAt = this.#isRenewed(id, node) ? now : Math.max(now, this.#abstainUntil());
    if (node.inquiry === undefined) node.inquiry = new Inquiry(now, nextAt);
    else node.inquiry.raise(now, nextAt);
  }

  #settle(serial: number): { readonly node: Watched; readonly inquiry: Inquiry } | undefined {
    const id = this.#asked.get(serial);
    this.#asked.delete(serial);
    const node = id === undefined ? undefined : this.#nodes.get(id);
    const inquiry = node?.inquiry;
    if (node === undefined || inquiry?.serial !== serial) return undefined;
    inquiry.serial = undefined;
    return { node, inquiry };
  }

  /** How a node may be failed now: on the fast path, on the slow one, or not. */
  #verdict(id: string, node: Watched, now: number): "fast" | "slow" | undefined {
    const { inquiry } = node;
    if (inquiry === undefined || now < node.busyUntil) return;
    if (!inquiry.isEvidence(now, this.#limits)) return;
    const renewed = this.#isRenewed(id, node);
    if (node.leaseGoneAt !== undefined && inquiry.askedAt >= node.leaseGoneAt) {
      if (renewed) return "slow";
      if (now >= this.#abstainUntil() && inquiry.unansweredCount >= 2) return "slow";
    }
    return renewed && inquiry.nobodyTwice(this.#limits) ? "fast" : undefined;
  }

  /** ACTIVE ⇄ DEGRADED. */
  #judgeLoad(
    commands: LivenessCommand[],
    id: string,
    node: Watched,
    { now, storeIsSlow }: { readonly now: number; readonly storeIsSlow: boolean },
  ): void {
    if (now < node.busyUntil) return;
    const lease = this.#leases.get(id);
    const held = lease !== undefined && lease.incarnation === node.incarnation;
    const silentMs = this.#silentMs(id, node, now);
    const overdue = silentMs >= this.#limits.degradedAfterMs;
    if (node.state === "ACTIVE" || node.state === "SYNCING") {
      const reason = (): string | undefined => {
        const answersOnly = node.leaseGoneAt !== undefined && node.inquiry?.answered === true;
        // A store that was away let go of everybody's lease; each is back at its next renewal.
        if (answersOnly && !storeIsSlow) return ANSWERS_ONLY;
        if (held && overdue && !storeIsSlow)
          return `lease not renewed for ${Math.round(silentMs)} ms`;
        if (!held || lease.lagMs <= this.#limits.lagDegradedMs) return;
        return `event loop ${Math.round(lease.lagMs)} ms late`;
      };
      const why = reason();
      if (why !== undefined) this.#command(commands, id, node, "DEGRADED", why);
    } else if (node.state === "DEGRADED" && held && !overdue && lease.timely >= RECOVERY_RENEWALS) {
      this.#command(commands, id, node, "ACTIVE", "renews in time again");
    }
  }

  /** Asks when it is due, else says when that will be. */
  #ask(commands: LivenessCommand[], id: string, node: Watched, now: number): number | undefined {
    const { inquiry } = node;
    if (inquiry === undefined || inquiry.serial !== undefined) return;
    if (inquiry.nextAt > now) return inquiry.nextAt;
    // An answer makes room and is judged at once.
    if (this.#asked.size >= this.#limits.pingsMax) return;
    const serial = this.#serial++;
    inquiry.ask(serial, now);
    this.#asked.set(serial, id);
    commands.push({ kind: "ping", id, serial });
    return;
  }

  #command(
    commands: LivenessCommand[],
    id: string,
    node: Watched,
    to: "FAILED" | "DEGRADED" | "ACTIVE",
    reason: string,
  ): void {
    if (this.#writing.has(id) || this.#writing.size >= this.#limits.writesMax) return;
    this.#writing.add(id);
    commands.push({ kind: "write", id, to, revision: node.revision, reason });
  }

  /** Are too many nodes suspect, or just failed, for each to be judged on its own? */
  #brake(): Brake | undefined {
    const failedCount = this.#failedAt.size;
    let suspectCount = 0;
    for (const { inquiry } of this.#nodes.values()) {
      if (inquiry !== undefined && !inquiry.answered) suspectCount++;
    }
    if (!this.#isMany(suspectCount + failedCount)) return undefined;
    return { suspectCount, failedCount, livingCount: this.#nodes.size, withheldCount: 0 };
  }

  #isMany(count: number): boolean {
    const { massLossMin, massLossShare } = this.#limits;
    const all = this.#nodes.size + this.#failedAt.size;
    return count >= massLossMin && count > massLossShare * all;
  }

  #overdueCount(now: number): number {
    let count = 0;
    for (const [id, node] of this.#nodes) {
      if (this.#silentMs(id, node, now) >= this.#limits.degradedAfterMs) count++;
    }
    return count;
  }

  /** For how long the node could have been heard renewing, and was not. */
  #silentMs(id: string, node: Watched, now: number): number {
    const lease = this.#leases.get(id);
    const heardAt = lease?.incarnation === node.incarnation ? lease.heardAt : node.since;
    return now - Math.max(heardAt, node.since, this.#linkUpAt);
  }

  #isRenewed(id: string, node: Watched): boolean {
    return this.#renewed.get(id) === node.incarnation;
  }

  #abstainUntil(): number {
    return this.#linkUpAt + this.#limits.abstainMs;
  }
}

const ANSWERS_ONLY = "answers pings, but its lease is gone";
const REASON = {
  fast: "connection closed and nobody answers",
  slow: "lease expired and ping unanswered",
} as const;
