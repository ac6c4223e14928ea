/**
 * A TCP proxy in front of nats-server that can fail: one for each process, so that one link can be
 * made to fail alone.
 *
 * Bytes are never lost in the middle of a stream: no network does that. What a half-open link
 * swallowed ends, when the link is healed, in a reset of that connection.
 */
import { createServer, connect as dial, type Server, type Socket } from "node:net";
import { systemClock } from "@swarm-mesh/runtime";

/** What the link does at the moment. */
export type LinkState =
  | { readonly kind: "clear" }
  /** Every byte arrives, later by `ms` in each direction, in order. */
  | { readonly kind: "latency"; readonly ms: number }
  /** Nothing is read: both ends fill their buffers, and all of it arrives when it is over. */
  | { readonly kind: "stall" }
  /** Everything is accepted and vanishes, ends of connections too. */
  | { readonly kind: "half-open" }
  /** Connections are reset, and so is every new one. */
  | { readonly kind: "cut" };

const CLEAR: LinkState = { kind: "clear" };

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** The proxy before one process. */
export class FaultyLink {
  /** Where the process connects to. */
  readonly url: string;
  readonly #server: Server;
  readonly #upstream: Address;
  readonly #passages = new Set<Passage>();
  /** Accepted while nothing came through: nobody upstream knows of them. */
  readonly #stranded = new Set<Socket>();
  #state: LinkState = CLEAR;

  private constructor(server: Server, upstream: Address) {
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    this.url = `nats://127.0.0.1:${port}`;
    this.#server = server;
    this.#upstream = upstream;
    server.on("connection", (socket) => this.#accept(socket));
  }

  /** Listens on a free port of this machine and passes everything on to `upstream`. */
  static async open(upstream: Address): Promise<FaultyLink> {
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", resolve);
    });
    return new FaultyLink(server, upstream);
  }

  /** Connections on their way through it. */
  get connections(): number {
    return this.#passages.size;
  }

  get state(): LinkState {
    return this.#state;
  }

  /** Makes the link fail, or heals it with `clear`. */
  set(state: LinkState): void {
    const before = this.#state;
    this.#state = state;
    if (isSilent(before) && !isSilent(state)) {
      for (const socket of this.#stranded) socket.resetAndDestroy();
      this.#stranded.clear();
    }
    for (const passage of this.#passages) passage.set(state);
  }

  /** Ends every connection and stops listening. */
  async close(): Promise<void> {
    this.set({ kind: "cut" });
    for (const socket of this.#stranded) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(socket: Socket): void {
    // A reset is how many of these end.
    socket.on("error", () => undefined);
    if (this.#state.kind === "cut") {
      socket.resetAndDestroy();
      return;
    }
    if (isSilent(this.#state)) {
      this.#stranded.add(socket);
      socket.on("close", () => this.#stranded.delete(socket));
      socket.resume();
      return;
    }
    const passage = new Passage(
      socket,
      dial({ ...this.#upstream, noDelay: true, allowHalfOpen: true }),
    );
    this.#passages.add(passage);
    passage.set(this.#state);
    void passage.over.then(() => this.#passages.delete(passage));
  }
}

/** Does nothing come through, without either end being told? */
function isSilent({ kind }: LinkState): boolean {
  return kind === "stall" || kind === "half-open";
}

/** One connection and its continuation upstream. */
class Passage {
  readonly over: Promise<void>;
  readonly #ends: readonly [Direction, Direction];
  #state: LinkState = CLEAR;
  /** One end is gone or bytes were swallowed: it cannot go on once the link is healed. */
  #broken = false;

  constructor(client: Socket, upstream: Socket) {
    upstream.on("error", () => undefined);
    const stateNow = (): LinkState => this.#state;
    const broken = (): void => {
      this.#broken = true;
    };
    this.#ends = [
      new Direction(client, upstream, { stateNow, broken }),
      new Direction(upstream, client, { stateNow, broken }),
    ];
    this.over = Promise.all(this.#ends.map(({ from }) => closed(from))).then(() => undefined);
    for (const { from, to } of this.#ends) {
      from.on("close", () => {
        // A silent link tells nobody: the other end learns of it when the link is healed.
        if (isSilent(this.#state)) this.#broken = true;
        else if (!to.destroyed) to.destroySoon();
      });
    }
  }

  set(state: LinkState): void {
    this.#state = state;
    const heals = !isSilent(state) && this.#broken;
    if (state.kind === "cut" || heals) {
      for (const { from } of this.#ends) from.resetAndDestroy();
      return;
    }
    for (const { from } of this.#ends) {
      if (state.kind === "stall") from.pause();
      else from.resume();
    }
  }
}

interface Shared {
  readonly stateNow: () => LinkState;
  readonly broken: () => void;
}

/** What goes one way. */
class Direction {
  readonly from: Socket;
  readonly to: Socket;
  readonly #shared: Shared;
  /** Bytes on their way, oldest first; `undefined` is the end of the stream. */
  readonly #late: { readonly dueMs: number; readonly chunk: Buffer | undefined }[] = [];
  #delivering = false;

  constructor(from: Socket, to: Socket, shared: Shared) {
    this.from = from;
    this.to = to;
    this.#shared = shared;
    from.on("data", (chunk: Buffer) => this.#take(chunk));
    from.on("end", () => this.#take(undefined));
    to.on("drain", () => {
      if (shared.stateNow().kind !== "stall") from.resume();
    });
  }

  #take(chunk: Buffer | undefined): void {
    const state = this.#shared.stateNow();
    if (state.kind === "half-open") {
      this.#shared.broken();
      return;
    }
    const waitMs = state.kind === "latency" ? state.ms : 0;
    if (waitMs === 0 && this.#late.length === 0) {
      this.#pass(chunk);
      return;
    }
    this.#late.push({ dueMs: systemClock.elapsed() + waitMs, chunk });
    void this.#deliver();
  }

  /** Hands over what was held back, each piece when it is due. */
  async #deliver(): Promise<void> {
    if (this.#delivering) return;
    this.#delivering = true;
    for (let next = this.#late[0]; next !== undefined; next = this.#late[0]) {
      await systemClock.sleep(Math.max(0, next.dueMs - systemClock.elapsed()));
      this.#late.shift();
      if (this.to.destroyed) continue;
      this.#pass(next.chunk);
    }
    this.#delivering = false;
  }

  #pass(chunk: Buffer | undefined): void {
    if (chunk === undefined) this.to.end();
    else if (!this.to.write(chunk)) this.from.pause();
  }
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()));
}
