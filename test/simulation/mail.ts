/** A message as its receiver has it, in the shape that our code reads of the client library's. */
import { quickHeaders, type ReadHeaders } from "@swarm-mesh/bus";
import type { Msg, MsgHdrs } from "nats";

const encoder = new TextEncoder();

export interface MailParts {
  readonly subject: string;
  readonly body?: unknown;
  readonly headers?: MsgHdrs | undefined;
  /** Where an answer goes; `""`: none is wanted. */
  readonly reply?: string;
  readonly respond?: (body: unknown) => void;
}

export class Mail {
  readonly subject: string;
  readonly body: unknown;
  readonly headers: MsgHdrs | undefined;
  readonly reply: string;
  readonly respond: (body: unknown) => void;
  /** Where the library keeps the bytes of a message: our reader of headers looks there. */
  readonly _msg: { readonly hdr: number };
  readonly _rdata: Uint8Array;
  #data: Uint8Array | undefined;

  constructor({ subject, body, headers, reply = "", respond = nothing }: MailParts) {
    this.subject = subject;
    this.body = body;
    this.headers = headers;
    this.reply = reply;
    this.respond = respond;
    this._rdata = headers === undefined ? NO_BYTES : headerBytes(headers);
    this._msg = { hdr: headers === undefined ? -1 : this._rdata.length };
  }

  /** The body as it would be on the wire. */
  get data(): Uint8Array {
    this.#data ??= bytesOf(this.body);
    return this.#data;
  }

  /** For those who are given messages of the client library; they use no more of it than is here. */
  get asMsg(): Msg {
    return this as unknown as Msg;
  }

  /** The body as a value, whether it was sent as one or as JSON. */
  json<T>(): T {
    if (this.body instanceof Uint8Array) return JSON.parse(Buffer.from(this.body).toString()) as T;
    return (typeof this.body === "string" ? JSON.parse(this.body) : this.body) as T;
  }
}

const NO_BYTES = new Uint8Array();

function nothing(): void {
  // Nobody waits for an answer.
}

export function bytesOf(body: unknown): Uint8Array {
  if (body === undefined) return NO_BYTES;
  if (body instanceof Uint8Array) return body;
  return encoder.encode(typeof body === "string" ? body : JSON.stringify(body));
}

/** Headers as they travel. Of those that are only written there is nothing else. */
function headerBytes(headers: MsgHdrs): Uint8Array {
  return (headers as unknown as { encode(): Uint8Array }).encode();
}

/** What a receiver reads of `headers`. */
export function readerOf(headers: MsgHdrs | undefined): ReadHeaders {
  const read = quickHeaders(new Mail({ subject: "", headers }).asMsg);
  if (read === undefined) return { get: () => "", [Symbol.iterator]: () => [][Symbol.iterator]() };
  if (read === "malformed") throw new TypeError("the simulation sent malformed headers");
  return read;
}
