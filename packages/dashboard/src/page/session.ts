/**
 * As whom the page connects. A link brings a secret behind the `#`, which no server ever sees in a
 * request line; it is exchanged for the key, once. The key stays in this tab's session storage.
 */
import { check, decode, encode } from "@swarm-mesh/protocol";
import { z } from "zod";
import type { Credentials } from "./link.ts";

const Config = z.object({ websocket: z.string(), key: z.boolean() });
const Key = z.object({ user: z.string(), seed: z.string().startsWith("SU") });
type Key = z.infer<typeof Key>;

const STORED = "swarm-mesh-key";

/** What the page starts with. */
export interface Start {
  readonly websocket: string;
  readonly credentials: Credentials | undefined;
  /** Why there are no credentials although a link promised some. */
  readonly problem: string | undefined;
}

/** Reads the configuration and, from the link or from before, the key. */
export async function startSession(): Promise<Start> {
  const response = await fetch("config.json", { cache: "no-store" });
  const config = check(Config, await response.json());
  if (!config.ok) throw new Error(`config.json: ${config.problem}`);
  const { websocket } = config.value;
  const { secret, to } = takeSecret();
  if (secret !== undefined) {
    const key = await exchange(secret);
    if ("problem" in key) {
      const kept = keptKey();
      if (kept === undefined) return { websocket, credentials: undefined, ...key };
      return { websocket, credentials: { websocket, ...kept }, problem: undefined };
    }
    keep(key);
  }
  history.replaceState(null, "", to);
  const key = keptKey();
  return {
    websocket,
    credentials: key === undefined ? undefined : { websocket, ...key },
    problem: undefined,
  };
}

/** Keeps the key for as long as this tab lives. */
export function keep(key: Key): void {
  sessionStorage.setItem(STORED, encode({ user: key.user, seed: key.seed }));
}

/** Forgets the key and begins anew. */
export function leave(): void {
  sessionStorage.removeItem(STORED);
  location.reload();
}

function keptKey(): Key | undefined {
  const kept = decode(Key, new TextEncoder().encode(sessionStorage.getItem(STORED) ?? ""));
  return kept.ok ? kept.value : undefined;
}

/** The secret of the link, and the address without it. `#key=…&to=/tasks/t1` leads to a page. */
function takeSecret(): { readonly secret: string | undefined; readonly to: string } {
  const { hash } = location;
  if (!hash.startsWith("#key=")) return { secret: undefined, to: hash || "#/" };
  const parts = new URLSearchParams(hash.slice(1));
  const to = `#${parts.get("to") ?? "/"}`;
  // At once: a secret does not stay in the address, or in a bookmark, whatever comes of it.
  history.replaceState(null, "", to);
  return { secret: parts.get("key") ?? "", to };
}

async function exchange(secret: string): Promise<Key | { readonly problem: string }> {
  const response = await fetch("key", { method: "POST", body: secret });
  if (!response.ok) return { problem: (await response.text()).trim() };
  const key = check(Key, await response.json());
  return key.ok ? key.value : { problem: key.problem };
}
