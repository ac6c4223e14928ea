/**
 * The network and the server's routing, as a model: what may happen to a message, not how NATS does it.
 *
 * A link is one process' connection. What it sends is late, lost or doubled as the run's conditions
 * say; while it is cut, messages wait in the wire, and are lost when either side gives the connection
 * up. The server knows a connection as a session: it has the subscriptions, and when it ends the server
 * says so on `disconnect`. A request that nobody is subscribed to is answered with "no responders".
 */
import type { MsgHdrs } from "nats";
import { Mail } from "./mail.ts";
import type { Process } from "./process.ts";
import type { Dice, Scheduler } from "./scheduler.ts";

/** What the network does to messages. Milliseconds, and shares from 0 to 1. */
export interface Conditions {
  readonly baseMs: number;
  readonly jitterMs: number;
  /** Share of messages that are slow, and how late at most. */
  readonly slowRate: number;
  readonly slowMs: number;
  readonly dropRate: number;
  readonly duplicateRate: number;
  /** Messages of one connection keep their order, as they do in TCP. */
  readonly ordered: boolean;
}

type Handler = (mail: Mail) => void;

interface Subscription {
  readonly topic: string;
  /** One of those in a group gets each message. */
  readonly grouped: boolean;
  readonly handle: Handler;
}

/** What the server knows of a connection. */
export interface Session {
  readonly link: Link;
  readonly subscriptions: Set<Subscription>;
  alive: boolean;
  /** Called when it ends. */
  readonly onEnd: (() => void)[];
}

/** Clients and server give up a silent peer after two or three of their 2 s pings. */
const STALE_MIN_MS = 4_000;
const STALE_MAX_MS = 6_000;
const RECONNECT_MIN_MS = 100;
const RECONNECT_MAX_MS = 200;

/** Tokens that name nothing in particular are left out: `mesh.tasks.outcome.n1.t1` → `outcome`. */
export function topicOf(subject: string): string {
  const tokens = subject.split(".");
  switch (tokens[1]) {
    case "node":
      return `node.${tokens[2]}`;
    case "tasks":
    case "registry":
      return tokens[2] ?? "";
    default:
      return tokens[2] === "alive" ? `alive.${tokens[3]}` : (tokens[2] ?? "");
  }
}

export class Network {
  readonly scheduler: Scheduler;
  readonly dice: Dice;
  conditions: Conditions;
  /** Is the server there at all? */
  up = true;
  readonly #topics = new Map<string, Map<Subscription, Session>>();
  readonly #sessions = new Set<Session>();

  constructor(scheduler: Scheduler, dice: Dice, conditions: Conditions) {
    this.scheduler = scheduler;
    this.dice = dice;
    this.conditions = conditions;
  }

  delayMs(): number {
    const { baseMs, jitterMs, slowRate, slowMs } = this.conditions;
    const slow = this.dice.chance(slowRate) ? this.dice.next() * slowMs : 0;
    return baseMs + this.dice.next() * jitterMs + slow;
  }

  open(link: Link): Session {
    const session: Session = { link, subscriptions: new Set(), alive: true, onEnd: [] };
    this.#sessions.add(session);
    return session;
  }

  /** Ends a session; `told`: the server says so to those who listen. */
  close(session: Session, told: boolean): void {
    if (!session.alive) return;
    session.alive = false;
    this.#sessions.delete(session);
    for (const subscription of session.subscriptions) this.unsubscribe(session, subscription);
    for (const end of session.onEnd.splice(0)) end();
    session.link.lostSession(session);
    if (!told) return;
    const body = session.link.process.name;
    this.deliver(new Mail({ subject: "$SYS.ACCOUNT.DISCONNECT", body }), "disconnect");
  }

  subscribe(session: Session, subscription: Subscription): void {
    if (!session.alive) return;
    session.subscriptions.add(subscription);
    const all = this.#topics.get(subscription.topic) ?? new Map<Subscription, Session>();
    this.#topics.set(subscription.topic, all.set(subscription, session));
  }

  unsubscribe(session: Session, subscription: Subscription): void {
    session.subscriptions.delete(subscription);
    const all = this.#topics.get(subscription.topic);
    // A client that came back has it in a newer session.
    if (all?.get(subscription) === session) all.delete(subscription);
  }

  /** Hands a message that arrived at the server on; `false` when nobody is subscribed. */
  deliver(mail: Mail, topic: string): boolean {
    const all = this.#topics.get(topic);
    if (all === undefined || all.size === 0) return false;
    const grouped: [Subscription, Session][] = [];
    for (const [subscription, session] of all) {
      if (subscription.grouped) grouped.push([subscription, session]);
      else this.#handOut(mail, subscription, session);
    }
    if (grouped.length > 0) this.#handOut(mail, ...this.dice.pick(grouped));
    return true;
  }

  #handOut(mail: Mail, subscription: Subscription, session: Session): void {
    const { link } = session;
    const { subject, body, headers, reply } = mail;
    const respond = (answer: unknown): void => link.toServer(() => mail.respond(answer));
    const copy = new Mail({ subject, body, headers, reply, respond });
    link.toClient(session, () => subscription.handle(copy), "message");
  }

  /** The server process dies: every session ends, and nobody is told. */
  crash(): void {
    this.up = false;
    for (const session of [...this.#sessions]) {
      this.close(session, false);
    }
  }

  /** It runs again: clients come back by themselves. */
  restart(): void {
    this.up = true;
  }
}

/**
 * What kind of thing travels. What goes to or from the store keeps its order and is not doubled: nobody
 * sends it twice but who asks for it. Streams of changes are not lost in an open connection either.
 */
type Kind = "message" | "stored" | "stream";

/** A process' connection. */
export class Link {
  readonly process: Process;
  readonly network: Network;
  /** What the client believes. */
  connected = false;
  cut = false;
  /** When it last was not in order, in true time. */
  troubleAt = 0;
  session: Session | undefined;
  readonly #subscriptions = new Set<Subscription>();
  /** Sent while the client knew that it was not connected. */
  #buffered: (() => void)[] = [];
  /** In the wire while it was cut. */
  #stuck: (() => void)[] = [];
  #cuts = 0;
  #lastUpAt = 0;
  #lastDownAt = 0;
  #stayDownMs = 0;
  readonly #flushes = new Set<(done: boolean) => void>();
  readonly #onLink: ((up: boolean) => void)[] = [];

  constructor(process: Process, network: Network) {
    this.process = process;
    this.network = network;
  }

  /** Connects for a process that starts; `ready` runs once connected. */
  open(ready: () => void): void {
    this.connected = false;
    this.#subscriptions.clear();
    this.#buffered = [];
    this.#onLink.length = 0;
    const life = this.process.starts;
    this.process.onEnd(() => this.#died());
    this.#connect(life, ready);
  }

  /** Is told of each loss and return of the connection. */
  onLink(listen: (up: boolean) => void): void {
    this.#onLink.push(listen);
  }

  subscribe(topic: string, handle: Handler, grouped = false): Subscription {
    const subscription = { topic, handle, grouped };
    this.#subscriptions.add(subscription);
    const { session } = this;
    if (this.connected && session !== undefined) {
      this.toServer(() => this.network.subscribe(session, subscription), "stream");
    }
    return subscription;
  }

  unsubscribe(subscription: Subscription): void {
    if (!this.#subscriptions.delete(subscription)) return;
    const { session } = this;
    if (this.connected && session !== undefined) {
      this.toServer(() => this.network.unsubscribe(session, subscription), "stream");
    }
  }

  /** Resolves when the server has everything sent before; `false`: the connection was lost. */
  flush(): Promise<boolean> {
    return new Promise((resolve) => {
      this.#flushes.add(resolve);
      this.toServer(() => {
        const { session } = this;
        if (session !== undefined) this.toClient(session, () => resolve(true), "stream");
      }, "stream");
    });
  }

  /** Publishes without an answer. */
  publish(subject: string, body: unknown, headers?: MsgHdrs): void {
    const mail = new Mail({ subject, body, headers });
    this.toServer(() => void this.network.deliver(mail, topicOf(subject)));
  }

  /** Runs `arrive` at the server, if what this process sends now gets there. */
  toServer(arrive: () => void, kind: Kind = "message"): void {
    if (!this.connected) {
      this.#buffered.push(() => this.toServer(arrive, kind));
      return;
    }
    const { session, network } = this;
    const sent = (): void => {
      // The server has read it before it knows that the peer is gone.
      if (network.up && (session?.alive === true || !this.process.alive)) arrive();
    };
    if (this.cut) this.#stuck.push(() => this.#up(sent, kind));
    else this.#up(sent, kind);
  }

  /** Runs `arrive` in the process, if what the server sends it now gets there. */
  toClient(session: Session, arrive: () => void, kind: Kind): void {
    if (!session.alive) return;
    const life = this.process.starts;
    const sent = (): void => {
      if (this.session === session && this.connected) this.process.enter(life, arrive);
    };
    if (this.cut) this.#stuck.push(() => this.#down(sent, kind));
    else this.#down(sent, kind);
  }

  /** From now on nothing gets through; both sides find out by their pings. */
  cutOff(): void {
    if (this.cut) return;
    this.cut = true;
    const { session, network } = this;
    const serial = ++this.#cuts;
    if (session === undefined || !session.alive) return;
    const stale = (): number => network.dice.between(STALE_MIN_MS, STALE_MAX_MS);
    const isCut = (): boolean => this.cut && this.#cuts === serial;
    network.scheduler.after(stale(), () => {
      if (isCut()) network.close(session, true);
    });
    network.scheduler.after(stale(), () => {
      if (isCut() && this.session === session) this.lose();
    });
  }

  /** Messages get through again: those still in the wire arrive, if the connection survived. */
  heal(): void {
    if (!this.cut) return;
    this.cut = false;
    this.troubleAt = this.network.scheduler.now;
    for (const send of this.#stuck.splice(0)) send();
    if (this.connected && this.session?.alive === false) this.lose();
  }

  /** The client sees that the connection broke, and connects again. */
  lose(): void {
    const { network, process } = this;
    const life = process.starts;
    const downMs = this.#stayDownMs;
    this.#stayDownMs = 0;
    this.troubleAt = network.scheduler.now;
    network.scheduler.after(network.delayMs(), () =>
      process.enter(life, () => {
        if (!this.connected) return;
        this.connected = false;
        this.#stuck = [];
        for (const resolve of this.#flushes) resolve(false);
        this.#flushes.clear();
        for (const listen of this.#onLink) listen(false);
        network.scheduler.after(downMs, () => this.#connect(life, () => this.#back()));
      }),
    );
  }

  /** The connection breaks at once, for both sides; the client tries again after `downMs`. */
  reset(downMs: number): void {
    this.#stayDownMs = downMs;
    if (this.session !== undefined) this.network.close(this.session, true);
  }

  /** The server ended the session. */
  lostSession(session: Session): void {
    if (this.session !== session) return;
    this.troubleAt = this.network.scheduler.now;
    // A client that can hear the server hears of it; one that is frozen does so when it thaws.
    if (this.process.alive && !this.cut) this.lose();
  }

  #back(): void {
    for (const listen of this.#onLink) listen(true);
  }

  #connect(life: number, ready: () => void): void {
    const { network, process } = this;
    if (!process.alive || process.starts !== life) return;
    const wait = network.dice.between(RECONNECT_MIN_MS, RECONNECT_MAX_MS);
    network.scheduler.after(wait, () =>
      process.enter(life, () => {
        if (this.cut || !network.up) {
          this.#connect(life, ready);
          return;
        }
        this.#established(ready);
      }),
    );
  }

  #established(ready: () => void): void {
    const { network } = this;
    const before = this.session;
    // What the server has not noticed yet, it will by its pings.
    if (before?.alive === true) {
      const staleMs = network.dice.between(STALE_MIN_MS, STALE_MAX_MS);
      network.scheduler.after(staleMs, () => network.close(before, true));
    }
    const session = network.open(this);
    this.session = session;
    this.connected = true;
    this.troubleAt = network.scheduler.now;
    for (const subscription of this.#subscriptions) network.subscribe(session, subscription);
    for (const send of this.#buffered.splice(0)) send();
    ready();
  }

  #died(): void {
    const { session, network } = this;
    this.connected = false;
    this.#stuck = [];
    this.troubleAt = network.scheduler.now;
    if (session === undefined) return;
    const noticedMs = this.cut
      ? network.dice.between(STALE_MIN_MS, STALE_MAX_MS)
      : network.dice.between(0, 40);
    network.scheduler.after(noticedMs, () => network.close(session, true));
  }

  #up(arrive: () => void, kind: Kind): void {
    this.#lastUpAt = this.#send(arrive, kind, this.#lastUpAt);
  }

  #down(arrive: () => void, kind: Kind): void {
    this.#lastDownAt = this.#send(arrive, kind, this.#lastDownAt);
  }

  /** Puts a message on its way; when it arrives. */
  #send(arrive: () => void, kind: Kind, lastAt: number): number {
    const { network } = this;
    const { dropRate, duplicateRate, ordered } = network.conditions;
    const now = network.scheduler.now;
    if (kind !== "stream") {
      if (network.dice.chance(dropRate)) return lastAt;
      const twice = kind === "message" && network.dice.chance(duplicateRate);
      if (twice) network.scheduler.after(network.delayMs(), arrive);
    }
    const due = now + network.delayMs();
    const at = ordered || kind !== "message" ? Math.max(lastAt, due) : due;
    network.scheduler.after(at - now, arrive);
    return Math.max(lastAt, at);
  }
}
