/**
 * A NATS connection with no more than a light node needs, on a bare socket. A thousand nodes have a
 * machine each elsewhere; here they share the cores with what is measured, and the library's
 * iterators, promises and timers would be the largest part of it. What goes over the wire is the same.
 */
import { connect, type Socket } from "node:net";
import { type Latch, latch } from "@swarm-mesh/runtime";
import { nkeyAuthenticator } from "nats";

export interface WireOptions {
  readonly url: string;
  readonly seed: Uint8Array;
  /** As the server shows the connection. */
  readonly name: string;
  /** Called for each message, in turn. What it publishes leaves in one write with the others of its turn. */
  readonly onMessage: (message: WireMessage) => void;
}

export interface WireMessage {
  readonly subject: string;
  /** `""`: none. */
  readonly reply: string;
  /** All headers as they came; `""`: none. */
  readonly headers: string;
  /** Valid until the next message. */
  readonly data: Buffer;
}

const NEWLINE = 0x0a;
const CRLF_BYTES = 2;
const EMPTY = Buffer.alloc(0);
/** What one read takes at most. */
const READ_BYTES = 64 * 1024;
/**
 * Read into by all connections of the process: bytes that came are looked at before the next read of
 * any of them, and what is not yet complete is copied.
 */
const shared = Buffer.allocUnsafeSlow(READ_BYTES);

export class Wire {
  readonly #options: WireOptions;
  readonly #socket: Socket;
  readonly #opened: Latch<void> = latch<void>();
  /** The beginning of a message of which more has to come. */
  #rest: Buffer = EMPTY;
  #out = "";
  #reading = false;
  #isOpen = false;
  #closing = false;
  #subscriptions = 0;

  private constructor(options: WireOptions) {
    const { hostname, port } = new URL(options.url);
    this.#options = options;
    this.#socket = connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      onread: {
        buffer: shared,
        callback: (bytes) => {
          this.#read(shared.subarray(0, bytes));
          return true;
        },
      },
    });
    this.#socket.on("error", (error) => this.#fail(error));
    this.#socket.on("close", () => this.#fail(new Error("closed by the server")));
  }

  /** Resolves when the server has let us in. A connection that is lost later ends the process. */
  static async open(options: WireOptions): Promise<Wire> {
    const wire = new Wire(options);
    await wire.#opened.promise;
    wire.#isOpen = true;
    return wire;
  }

  subscribe(subject: string): void {
    this.#send(`SUB ${subject} ${++this.#subscriptions}\r\n`);
  }

  /** `headers`: lines of `Name: value\r\n`. */
  publish(subject: string, body: string, reply = "", headers = ""): void {
    const to = reply === "" ? subject : `${subject} ${reply}`;
    const bytes = Buffer.byteLength(body);
    if (headers === "") {
      this.#send(`PUB ${to} ${bytes}\r\n${body}\r\n`);
      return;
    }
    const block = `NATS/1.0\r\n${headers}\r\n`;
    this.#send(`HPUB ${to} ${block.length} ${block.length + bytes}\r\n${block}${body}\r\n`);
  }

  ping(): void {
    this.#send("PING\r\n");
  }

  close(): void {
    this.#closing = true;
    this.#socket.destroySoon();
  }

  #send(text: string): void {
    this.#out += text;
    if (!this.#reading) this.#write();
  }

  #write(): void {
    if (this.#out === "") return;
    this.#socket.write(this.#out);
    this.#out = "";
  }

  #read(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#reading = true;
    let at = 0;
    for (let end = this.#take(bytes, at); end > at; end = this.#take(bytes, at)) at = end;
    this.#reading = false;
    this.#rest = at === bytes.length ? EMPTY : Buffer.from(bytes.subarray(at));
    this.#write();
  }

  /** Does what the server says at `at`; where that ends, or `at` when more of it has to come. */
  #take(bytes: Buffer, at: number): number {
    const newline = bytes.indexOf(NEWLINE, at);
    if (newline < 0) return at;
    const line = bytes.toString("latin1", at, newline - 1);
    const next = newline + 1;
    const space = line.indexOf(" ");
    const verb = space < 0 ? line : line.slice(0, space);
    if (verb === "MSG" || verb === "HMSG") return this.#message(bytes, next, line) ?? at;
    if (verb === "PING") this.#send("PONG\r\n");
    if (verb === "PONG") this.#opened.resolve();
    if (verb === "INFO") this.#introduce(line.slice(space));
    if (verb === "-ERR") this.#fail(new Error(line));
    return next;
  }

  /** Where the message ends that `line` announces; `undefined` when more of it has to come. */
  #message(bytes: Buffer, from: number, line: string): number | undefined {
    // MSG <subject> <sid> [reply] <size>, HMSG <subject> <sid> [reply] <headers' size> <size>
    const words = line.split(" ");
    const size = Number(words.at(-1));
    if (bytes.length < from + size + CRLF_BYTES) return undefined;
    const sizes = words[0] === "HMSG" ? 2 : 1;
    const headerBytes = sizes === 2 ? Number(words.at(-2)) : 0;
    this.#options.onMessage({
      subject: words[1] ?? "",
      reply: words.length === 4 + sizes ? (words[3] ?? "") : "",
      headers: bytes.toString("latin1", from, from + headerBytes),
      data: bytes.subarray(from + headerBytes, from + size),
    });
    return from + size + CRLF_BYTES;
  }

  /** Says who we are. The answer to the ping is that we are let in. */
  #introduce(info: string): void {
    const { nonce } = JSON.parse(info) as { nonce?: string };
    // A server says again who it is when that changes.
    if (nonce === undefined || this.#isOpen) return;
    const options = {
      ...nkeyAuthenticator(this.#options.seed)(nonce),
      name: this.#options.name,
      lang: "bench",
      version: "1",
      protocol: 1,
      verbose: false,
      pedantic: false,
      headers: true,
      no_responders: true,
    };
    this.#send(`CONNECT ${JSON.stringify(options)}\r\nPING\r\n`);
  }

  #fail(error: Error): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#socket.destroy();
    const failure = new Error(`${this.#options.name}: ${error.message}`, { cause: error });
    if (this.#isOpen) throw failure;
    this.#opened.reject(failure);
  }
}

/** A header's value, of those of a {@link WireMessage}; `""`: it is not there. */
export function headerIn(headers: string, name: string): string {
  const at = headers.indexOf(`\r\n${name}: `);
  if (at < 0) return "";
  const from = at + name.length + 4;
  return headers.slice(from, headers.indexOf("\r\n", from));
}
