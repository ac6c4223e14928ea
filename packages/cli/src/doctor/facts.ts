/** What the doctor looks at, facts without a judgement; and the shape of what it finds. */
import type { NodeRecord } from "@swarm-mesh/protocol";
import type { Leases } from "../leases.ts";

/** What one server says of itself. */
export interface ServerFacts {
  readonly name: string;
  readonly version: string;
  /** `undefined`: a server without JetStream. */
  readonly store:
    | {
        /** Milliseconds between two writes to the disk; 0: each write waits for it. */
        readonly syncIntervalMs: number;
        readonly usedBytes: number;
        readonly limitBytes: number;
        readonly reservedBytes: number;
      }
    | undefined;
  /** The servers as its cluster has them; `undefined`: it is alone, or no leader is known. */
  readonly cluster: { readonly size: number; readonly leader: string } | undefined;
  readonly maxPayloadBytes: number;
  readonly tls: boolean;
  /** Its clock less this machine's, in milliseconds, and by how much that may be wrong. */
  readonly clock: { readonly aheadMs: number; readonly errorMs: number };
}

/** A stream, or the stream beneath a bucket. */
export interface StoreFacts {
  readonly name: string;
  readonly found:
    | {
        readonly replicas: number;
        readonly drift: readonly string[];
        /** "": nobody leads it. `undefined`: there is one server. */
        readonly leader: string | undefined;
        /** Copies that are behind, or on a server that is gone. */
        readonly behind: readonly string[];
      }
    | undefined;
  /** Why nothing is known of it. */
  readonly problem: string | undefined;
}

/** A file that holds a secret. */
export interface SecretFile {
  readonly path: string;
  readonly mode: number;
}

/** Everything the findings are made from. */
export interface Facts {
  /** `undefined`: this key may not ask. */
  readonly servers: readonly ServerFacts[] | undefined;
  /** The server that answered us, by its own first word. */
  readonly connected: {
    readonly url: string;
    readonly version: string;
    readonly clustered: boolean;
    readonly encrypted: boolean;
    readonly maxPayloadBytes: number;
  };
  readonly stores: readonly StoreFacts[];
  /** Replicas of each service that answer. */
  readonly services: Readonly<Record<string, number>>;
  /** Nodes that were enrolled and not revoked; `undefined`: not known. */
  readonly enrolled: number | undefined;
  readonly nodes: readonly NodeRecord[] | undefined;
  readonly leases: Leases | undefined;
  /** Tasks waiting or running, by capability; `undefined`: not known. */
  readonly backlog: Readonly<Record<string, number>> | undefined;
  readonly secrets: readonly SecretFile[];
}

/** How good or bad it is. `unknown`: it could not be found out from here. */
export type Level = "ok" | "warn" | "fail" | "unknown";

/** One thing worth saying about the mesh, good or bad. */
export interface Finding {
  readonly section: "servers" | "stores" | "durability" | "clocks" | "services" | "nodes" | "keys";
  readonly level: Level;
  readonly says: string;
  /** What to do about it. */
  readonly remedy?: string;
}

/** Makes a finding of one section. */
export type Say = (level: Level, says: string, remedy?: string) => Finding;

/** How findings of `section` are made; one without a remedy has no such field. */
export function about(section: Finding["section"]): Say {
  return (level, says, remedy) => ({
    section,
    level,
    says,
    ...(remedy === undefined ? {} : { remedy }),
  });
}
