/** The connections of nodes: found on every server, and cut. */
import {
  accountOf,
  connectionsSubject,
  decode,
  encode,
  kickSubject,
  PublicKey,
} from "@swarm-mesh/protocol";
import type { Log } from "@swarm-mesh/runtime";
import type { Msg, NatsConnection } from "nats";
import { z } from "zod";

/** One connection of a node. */
export interface Connection {
  readonly serverId: string;
  /** The server's number for it. */
  readonly id: number;
  readonly publicKey: string;
}

/** One server's answer: its connections, a page of them. */
const Page = z.object({
  server: z.object({ id: z.string() }),
  data: z.object({
    total: z.int(),
    offset: z.int().default(0),
    connections: z.array(z.object({ cid: z.int(), authorized_user: z.string().optional() })),
  }),
});

/** What the server says of a connection that was made. */
const ConnectEvent = z.object({
  server: z.object({ id: z.string() }),
  client: z.object({ id: z.int(), user: z.string().optional() }),
});

/** Connections that a server names in one answer. */
const PAGE_MAX = 1_024;
/** How long servers may take to answer, and how long after the last one another is waited for. */
const ANSWERS_MAX_MS = 2_000;
const ANSWERS_STALL_MS = 150;
const QUICK = { strategy: "stall", stall: ANSWERS_STALL_MS, maxWait: ANSWERS_MAX_MS } as const;
const ALL = { strategy: "timer", maxWait: ANSWERS_MAX_MS } as const;
const KICK_TIMEOUT_MS = 2_000;

export class Connections {
  readonly #nc: NatsConnection;
  readonly #log: Log;

  constructor(nc: NatsConnection, log: Log) {
    this.#nc = nc;
    this.#log = log;
  }

  /**
   * Cuts every connection of a key, on every server; as each answers, not when all have. `quick`: for
   * somebody who waits, at the risk of missing a server that answers long after the others.
   */
  async cutKey(publicKey: string, reach: "quick" | "all"): Promise<number> {
    const isWanted = (found: string): boolean => found === publicKey;
    return this.#cutAll({ auth: true, user: publicKey }, isWanted, reach);
  }

  /** Looks at all connections and cuts those of keys that are no longer good. */
  async sweep(isRevoked: (publicKey: string) => boolean): Promise<number> {
    return this.#cutAll({ auth: true }, isRevoked, "quick");
  }

  /** Closes one connection. False: it was not told to, or nobody answered. */
  async cut({ serverId, id, publicKey }: Connection): Promise<boolean> {
    try {
      await this.#nc.request(kickSubject(serverId), encode({ cid: id }), {
        timeout: KICK_TIMEOUT_MS,
      });
      this.#log.info({ server: serverId, connection: id, publicKey }, "connection cut");
      return true;
    } catch (error) {
      this.#log.warn({ server: serverId, connection: id, err: error }, "connection not cut");
      return false;
    }
  }

  async #cutAll(
    filter: object,
    isWanted: (publicKey: string) => boolean,
    reach: "quick" | "all",
  ): Promise<number> {
    const patience = { quick: QUICK, all: ALL }[reach];
    let cuts = 0;
    let offset = 0;
    for (let more = true; more; offset += PAGE_MAX) {
      more = false;
      const cutting: Promise<boolean>[] = [];
      const answers = await this.#nc.requestMany(
        connectionsSubject(accountOf("node")),
        encode({ ...filter, limit: PAGE_MAX, offset }),
        patience,
      );
      for await (const answer of answers) {
        const page = decode(Page, answer.data);
        if (!page.ok) {
          this.#log.warn({ problem: page.problem }, "connections not read");
          continue;
        }
        const { server, data } = page.value;
        more ||= data.total > offset + PAGE_MAX && data.connections.length > 0;
        for (const { cid, authorized_user: publicKey } of data.connections) {
          if (publicKey === undefined || !isWanted(publicKey)) continue;
          cutting.push(this.cut({ serverId: server.id, id: cid, publicKey }));
        }
      }
      cuts += (await Promise.all(cutting)).filter((done) => done).length;
    }
    return cuts;
  }
}

/** A connection that the server says was made; `undefined`: of a user who has no key for a name. */
export function madeConnection(message: Msg): Connection | undefined {
  const event = decode(ConnectEvent, message.data);
  if (!event.ok) return undefined;
  const { server, client } = event.value;
  const publicKey = PublicKey.safeParse(client.user);
  return publicKey.success
    ? { serverId: server.id, id: client.id, publicKey: publicKey.data }
    : undefined;
}
