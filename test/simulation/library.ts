/**
 * The client library as a leader's term uses it: a connection, a JetStream manager and a requester,
 * over the simulated network and store. The term above it is the coordinator's own code, as it is.
 */
import { JetStreamApiError } from "@nats-io/jetstream";
import { MESH_TASKS, type Outcome, type OutcomeBatch, tokenOf } from "@swarm-mesh/protocol";
import type { Log } from "@swarm-mesh/runtime";
import { headers, type MsgHdrs } from "nats";
import type { TermOptions } from "../../services/coordinator/src/term.ts";
import { bytesOf, Mail } from "./mail.ts";
import { topicOf } from "./network.ts";
import { EPOCH_MS } from "./process.ts";
import type { Delivered, Stream } from "./streams.ts";
import type { Host } from "./world.ts";

type Deps = TermOptions["deps"];
type Callback = (error: null, message: unknown) => void;

const API_TIMEOUT_MS = 2_000;
/** How the library's errors are told from silence does not matter here: there is only silence. */
const SILENCE = "the store did not answer";
const CONSUMER_NOT_FOUND = { code: 404, err_code: 10014, description: "consumer not found" };

/** What a term of this process is given. */
export function termDeps(host: Host): Deps {
  const library = new Library(host);
  const { process, random, requester } = host;
  const acting = {
    send: requester.send.bind(requester),
    request: requester.request.bind(requester),
    stored: (subject: string, payload: unknown, options: { readonly headers?: MsgHdrs }) => {
      host.world.judge.acts(host.name);
      const { unfenced = false } = host.world.sabotage;
      const isRecord = subject.startsWith("$KV.mesh_tasks.");
      return requester.stored(subject, payload, unfenced && isRecord ? {} : options);
    },
  };
  const deps = {
    nc: library.connection(),
    manager: library.manager(),
    requester: acting,
    clock: process.clock,
    random,
    log: logOf(host),
    instance: host.name,
  };
  return deps as unknown as Deps;
}

/** What a leader logs as an error is a bug: no fault here is any reason for one. */
function logOf(host: Host): Log {
  const note = (fields: object, message: string): void => {
    host.note(
      message,
      JSON.stringify(fields, (_key, value) => textOf(value)),
    );
  };
  const error = (fields: object, message: string): void => {
    const failure = (fields as { readonly err?: unknown }).err;
    const text = failure instanceof Error ? (failure.stack ?? failure.message) : message;
    host.world.judge.fail("no process throws", `${host.name}: ${message}: ${text}`);
  };
  return { debug: () => undefined, info: note, warn: note, error };
}

function textOf(value: unknown): unknown {
  return value instanceof Error ? value.message : value;
}

class Library {
  readonly #host: Host;
  /** Callbacks of the inboxes that pulls are answered on, by their subject less the last token. */
  readonly #inboxes = new Map<string, Callback>();

  constructor(host: Host) {
    this.#host = host;
  }

  connection(): object {
    return {
      isClosed: () => false,
      closed: () => new Promise(() => undefined),
      subscribe: (subject: string, { callback }: { readonly callback: Callback }) =>
        this.#subscribe(subject, callback),
      publish: (
        subject: string,
        payload: unknown,
        options: { readonly reply?: string; readonly headers?: MsgHdrs } = {},
      ) => this.#publish(subject, payload, options),
      // A leader asks for nothing else: the names of a stream's consumers.
      request: async (subject: string) => {
        const consumers = await this.#ask(() => [
          ...this.#stream(subject.split(".").at(-1) ?? "").consumers.keys(),
        ]);
        return { data: bytesOf({ total: consumers.length, consumers }) };
      },
    };
  }

  manager(): object {
    return {
      streams: {
        getMessage: (stream: string, query: Query) => this.#ask(() => this.#stored(stream, query)),
        deleteMessage: (stream: string, seq: number) =>
          this.#ask(() => {
            this.#stream(stream).remove(seq);
            return true;
          }),
        info: (stream: string) =>
          this.#ask(() => {
            const waiting = [...this.#stream(stream).messages.values()];
            return {
              state: { subjects: Object.fromEntries(waiting.map((one) => [one.subject, 1])) },
            };
          }),
      },
      consumers: {
        info: async (stream: string, name: string) => {
          const found = await this.#ask(() => this.#stream(stream).consumers.get(name));
          if (found === undefined) throw new JetStreamApiError(CONSUMER_NOT_FOUND);
          return { num_ack_pending: found.ackPending };
        },
        delete: (stream: string, name: string) =>
          this.#ask(() => {
            this.#stream(stream).deleteConsumer(name);
            return true;
          }),
        add: (stream: string, config: ConsumerConfig) =>
          this.#ask(() => {
            const filters = new Set(config.filter_subjects ?? [config.filter_subject]);
            const ackWaitMs = config.ack_wait / 1e6;
            const name = config.durable_name;
            const isWanted = (subject: string): boolean => filters.has(subject);
            return { num_pending: this.#stream(stream).ensureConsumer(name, isWanted, ackWaitMs) };
          }),
      },
    };
  }

  #subscribe(subject: string, callback: Callback): { unsubscribe: () => void } {
    const { link } = this.#host;
    if (subject.startsWith("_INBOX")) {
      const inbox = subject.slice(0, -".*".length);
      this.#inboxes.set(inbox, callback);
      return { unsubscribe: () => this.#inboxes.delete(inbox) };
    }
    const subscription = link.subscribe(topicOf(subject), (mail) => {
      callback(null, this.#overheard(mail));
    });
    return { unsubscribe: () => link.unsubscribe(subscription) };
  }

  /** The message, such that the judge hears what is answered to an outcome. */
  #overheard(mail: Mail): Mail {
    const verb = tokenOf(mail.subject, 2);
    if (verb !== "outcome" && verb !== "outcomes") return mail;
    const { judge } = this.#host.world;
    const node = tokenOf(mail.subject, 3);
    const tell = (task: string, outcome: Outcome, answer: unknown): void => {
      if (answer === "recorded" || answer === "stale") judge.answered(task, node, outcome, answer);
    };
    const respond = (body: unknown): void => {
      const said = JSON.parse(String(body)) as { answer?: unknown; answers?: readonly unknown[] };
      if (verb === "outcome") tell(tokenOf(mail.subject, 4), mail.json<Outcome>(), said.answer);
      else {
        for (const [index, one] of mail.json<OutcomeBatch>().entries()) {
          tell(one.taskId, one, said.answers?.[index]);
        }
      }
      mail.respond(body);
    };
    return new Mail({ ...partsOf(mail), respond });
  }

  #publish(
    subject: string,
    payload: unknown,
    options: { readonly reply?: string; readonly headers?: MsgHdrs },
  ): void {
    const tokens = subject.split(".");
    if (tokens[0] !== "$JS") this.#host.link.publish(subject, payload, options.headers);
    else if (tokens[1] === "ACK") this.#acknowledge(tokens, String(payload));
    else this.#pull(tokens, String(payload), options.reply ?? "");
  }

  #acknowledge([, , stream = "", consumer = "", , seq]: readonly string[], word: string): void {
    const { link, world } = this.#host;
    link.toServer(() => {
      const there = world.store.up ? this.#stream(stream).consumers.get(consumer) : undefined;
      if (word === "+ACK") there?.ack(Number(seq));
      else there?.working(Number(seq));
    }, "stored");
  }

  #pull(tokens: readonly string[], body: string, reply: string): void {
    const { link, world } = this.#host;
    const [stream = "", consumer = ""] = tokens.slice(-2);
    const request = JSON.parse(body) as { batch: number; expires?: number };
    link.toServer(() => {
      const { session } = link;
      if (!world.store.up || session === undefined) return;
      this.#stream(stream)
        .consumers.get(consumer)
        ?.pull({
          session,
          batch: request.batch,
          expiresMs: request.expires === undefined ? undefined : request.expires / 1e6,
          onMessage: (delivered) => this.#hand(delivered, consumer, reply),
          onEnd: (undelivered) => this.#end(undelivered, reply),
        });
    }, "stored");
  }

  #hand({ message, deliveries, waiting }: Delivered, consumer: string, reply: string): void {
    const { stream, seq, subject, body, storedAt } = message;
    const nanos = `${Math.floor(EPOCH_MS + storedAt)}000000`;
    const ack = `$JS.ACK.${stream}.${consumer}.${deliveries}.${seq}.${seq}.${nanos}.${waiting}`;
    if (this.#host.world.sabotage.acksAtOnce === true) this.#acknowledge(ack.split("."), "+ACK");
    this.#host.note("gets", `${message.task} ${stream} ${seq}`);
    this.#inbox(reply)?.(null, new Mail({ subject, body, headers: message.headers, reply: ack }));
  }

  #end(undelivered: number, reply: string): void {
    const status = { code: 408, description: "", get: () => String(undelivered) };
    this.#inbox(reply)?.(null, { subject: reply, headers: status });
  }

  #inbox(reply: string): Callback | undefined {
    return this.#inboxes.get(reply.slice(0, reply.lastIndexOf(".")));
  }

  #stored(stream: string, query: Query): object | null {
    const { store } = this.#host.world;
    if (stream.startsWith("KV_")) {
      const [, bucket = "", ...key] = (query.last_by_subj ?? "").split(".");
      const entry = store.bucketOf(bucket).get(key.join("."));
      if (entry === undefined) return null;
      // Of those that are only written, as records have them, nothing can be read back.
      const written = entry.headers !== undefined && "get" in entry.headers;
      const header = entry.value === undefined ? MARKER : written ? entry.headers : undefined;
      return { seq: entry.revision, data: bytesOf(entry.value), header };
    }
    const all = this.#stream(stream).messages;
    const found =
      query.seq === undefined
        ? [...all.values()].findLast((one) => one.subject === query.last_by_subj)
        : all.get(query.seq);
    if (found === undefined) return null;
    const time = new Date(EPOCH_MS + found.storedAt);
    return { seq: found.seq, data: found.body, header: found.headers, time };
  }

  #stream(name: string): Stream {
    const { submits, retries } = this.#host.world.store;
    return name === MESH_TASKS.name ? submits : retries;
  }

  async #ask<T>(question: () => T): Promise<T> {
    const answer = await this.#host.requester.ask(() => ({ value: question() }), API_TIMEOUT_MS);
    if (answer === undefined) throw new Error(SILENCE);
    return answer.value;
  }
}

interface Query {
  readonly seq?: number;
  readonly last_by_subj?: string;
}

interface ConsumerConfig {
  readonly durable_name: string;
  readonly ack_wait: number;
  readonly filter_subject?: string;
  readonly filter_subjects?: readonly string[];
}

const MARKER = headers();
MARKER.set("KV-Operation", "PURGE");

function partsOf({ subject, body, headers: h, reply }: Mail) {
  return { subject, body, headers: h, reply };
}
