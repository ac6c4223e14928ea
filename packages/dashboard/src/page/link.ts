/**
 * The one connection to the mesh: what it is doing, and when something was last heard of it.
 *
 * A WebSocket that died without a word looks connected for seconds, so the server is asked for a
 * sign of life every second. What the page shows is as good as the last answer, and no better.
 */
import {
  AuthorizationError,
  type NatsConnection,
  nkeyAuthenticator,
  UserAuthenticationExpiredError,
  wsconnect,
} from "@nats-io/nats-core";
import { signal } from "@preact/signals";
import { VERSION } from "@swarm-mesh/protocol";
import { systemClock } from "@swarm-mesh/runtime";

/** Where to connect, and as whom. */
export interface Credentials {
  readonly websocket: string;
  readonly user: string;
  readonly seed: string;
}

/** `refused`: the server does not know this key; it is not tried again. */
export type Phase = "connecting" | "connected" | "disconnected" | "refused";

/** How often the server is asked for a sign of life, ms. */
const PULSE_MS = 1_000;
/** How long without one until what is shown counts as old, ms. */
export const STALE_AFTER_MS = 3_000;
const RETRY_MS = 500;
const RECONNECT_MS = 250;
const DIAL_TIMEOUT_MS = 3_000;

export class Link {
  readonly user: string;
  readonly phase = signal<Phase>("connecting");
  /** Monotonic time of the last sign of life; `undefined`: there was none yet. */
  readonly heardAt = signal<number | undefined>(undefined);
  /** The last round trip, ms. */
  readonly rttMs = signal<number | undefined>(undefined);
  readonly server = signal("");
  readonly #credentials: Credentials;
  readonly #stop = new AbortController();
  #nc: NatsConnection | undefined;

  constructor(credentials: Credentials) {
    this.#credentials = credentials;
    this.user = credentials.user;
  }

  get inboxPrefix(): string {
    return `_INBOX_${this.user}`;
  }

  /** May this key change anything? The server has the last word. */
  get mayAct(): boolean {
    return this.user === "admin";
  }

  /** The connection, for one request; throws while there is none. */
  get nc(): NatsConnection {
    if (this.#nc === undefined || this.phase.value !== "connected") {
      throw new Error("not connected");
    }
    return this.#nc;
  }

  /**
   * Stays connected until {@link close}. `onUp` is called at each new connection, with a signal that
   * aborts when that one is lost.
   */
  async run(onUp: (nc: NatsConnection, down: AbortSignal) => void): Promise<void> {
    const nc = await this.#dial();
    if (nc === undefined) return;
    this.#nc = nc;
    let down = new AbortController();
    const up = (): void => {
      down = new AbortController();
      this.#heard();
      this.server.value = nc.info?.server_name ?? "";
      this.phase.value = "connected";
      onUp(nc, down.signal);
    };
    void this.#pulse(nc);
    const statuses = nc.status();
    up();
    for await (const status of statuses) {
      if (status.type === "disconnect") {
        this.phase.value = "disconnected";
        down.abort();
      } else if (status.type === "reconnect") {
        up();
      } else if (status.type === "error" && isRefusal(status.error)) {
        this.phase.value = "refused";
        this.close();
      }
    }
    down.abort();
    if (this.phase.value !== "refused") this.phase.value = "disconnected";
  }

  /** Ends the connection for good. */
  close(): void {
    this.#stop.abort();
    void this.#nc?.close();
  }

  async #dial(): Promise<NatsConnection | undefined> {
    const { websocket, user, seed } = this.#credentials;
    while (!this.#stop.signal.aborted) {
      try {
        return await wsconnect({
          servers: websocket,
          authenticator: nkeyAuthenticator(new TextEncoder().encode(seed)),
          inboxPrefix: this.inboxPrefix,
          name: `dashboard/${VERSION}/${user}`,
          timeout: DIAL_TIMEOUT_MS,
          maxReconnectAttempts: -1,
          reconnectTimeWait: RECONNECT_MS,
          pingInterval: 2_000,
          maxPingOut: 2,
          noAsyncTraces: true,
        });
      } catch (error) {
        if (isRefusal(error)) {
          this.phase.value = "refused";
          return undefined;
        }
        this.phase.value = "disconnected";
        await systemClock.sleep(RETRY_MS, this.#stop.signal);
      }
    }
    return undefined;
  }

  async #pulse(nc: NatsConnection): Promise<void> {
    while (!nc.isClosed()) {
      if (this.phase.value === "connected") {
        const startedAt = systemClock.elapsed();
        const answered = nc.rtt().then((ms) => {
          this.rttMs.value = ms;
          this.#heard();
        });
        // A lost connection is told by its status.
        await Promise.race([answered.catch(() => undefined), systemClock.sleep(STALE_AFTER_MS)]);
        await systemClock.sleep(Math.max(0, PULSE_MS - (systemClock.elapsed() - startedAt)));
      } else {
        await systemClock.sleep(PULSE_MS);
      }
    }
  }

  #heard(): void {
    this.heardAt.value = systemClock.elapsed();
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof AuthorizationError || error instanceof UserAuthenticationExpiredError;
}
