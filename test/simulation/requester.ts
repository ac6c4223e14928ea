/**
 * Requests over the simulated network, in the shape of the bus package's `Requester`, so that the
 * node's own outbox, saver, lease and registration run on it as they are.
 */
import type { Reply, Requester, SendOptions, Stored } from "@swarm-mesh/bus";
import { Mail } from "./mail.ts";
import { type Link, topicOf } from "./network.ts";
import type { StoreServer } from "./store.ts";

/** How long a request may take unless it says otherwise, and how late that is noticed. */
const TIMEOUT_MS = 5_000;
const LATE_MS = 50;

export class SimRequester {
  readonly #link: Link;
  readonly #store: StoreServer;

  constructor(link: Link, store: StoreServer) {
    this.#link = link;
    this.#store = store;
  }

  /** Itself, as what the node's parts ask for: they call the four methods below and no other. */
  get asRequester(): Requester {
    return this as unknown as Requester;
  }

  send(
    subject: string,
    payload: unknown,
    onReply: (reply: Reply) => void,
    options: SendOptions = {},
  ): void {
    const { process } = this.#link;
    const life = process.starts;
    let isOpen = true;
    const settle = (reply: Reply): void => {
      if (!isOpen) return;
      isOpen = false;
      process.scheduler.cancel(timer);
      onReply(reply);
    };
    const timer = process.after((options.timeoutMs ?? TIMEOUT_MS) + LATE_MS, () =>
      settle({ kind: "timeout" }),
    );
    /** Takes an answer from the server to us. */
    const back = (reply: Reply): void => {
      const { session } = this.#link;
      if (session === undefined || process.starts !== life) return;
      this.#link.toClient(session, () => settle(reply), "message");
    };
    this.#link.toServer(() => this.#arrive(subject, payload, options, back));
  }

  request(subject: string, payload: unknown, options: SendOptions = {}): Promise<Reply> {
    return new Promise((resolve) => this.send(subject, payload, resolve, options));
  }

  store(
    subject: string,
    payload: unknown,
    onStored: (stored: Stored) => void,
    options: SendOptions = {},
  ): void {
    const { process } = this.#link;
    let isOpen = true;
    const settle = (stored: Stored): void => {
      if (!isOpen) return;
      isOpen = false;
      process.scheduler.cancel(timer);
      onStored(stored);
    };
    const timer = process.after((options.timeoutMs ?? TIMEOUT_MS) + LATE_MS, () =>
      settle({ kind: "unknown", message: "the store did not answer in time" }),
    );
    this.#ask(() => this.#store.write(subject, payload, options.headers), settle);
  }

  stored(subject: string, payload: unknown, options: SendOptions = {}): Promise<Stored> {
    return new Promise((resolve) => this.store(subject, payload, resolve, options));
  }

  /** Asks the store; `undefined` when it did not answer in time. */
  ask<T>(question: () => T, timeoutMs: number): Promise<T | undefined> {
    return new Promise((resolve) => {
      const timer = this.#link.process.after(timeoutMs + LATE_MS, () => resolve(undefined));
      this.#ask(question, (answer) => {
        this.#link.process.scheduler.cancel(timer);
        resolve(answer);
      });
    });
  }

  /** Runs `question` at the store, if it is to be had; `settle` in our process, if we hear of it. */
  #ask<T>(question: () => T, settle: (answer: T) => void): void {
    const link = this.#link;
    const life = link.process.starts;
    link.toServer(() => {
      if (!this.#store.up) return;
      const answer = question();
      const { session } = link;
      if (session === undefined || link.process.starts !== life) return;
      link.toClient(session, () => settle(answer), "stored");
    }, "stored");
  }

  #arrive(
    subject: string,
    payload: unknown,
    options: SendOptions,
    back: (reply: Reply) => void,
  ): void {
    const { network } = this.#link;
    const respond = (body: unknown): void => {
      back({ kind: "message", message: new Mail({ subject: "reply", body }).asMsg });
    };
    const { headers } = options;
    const mail = new Mail({ subject, body: payload, headers, reply: "inbox", respond });
    if (!network.deliver(mail, topicOf(subject))) back({ kind: "no-responders" });
  }
}
