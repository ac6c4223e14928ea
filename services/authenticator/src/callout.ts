/** What the server asks about a connection, and how it is answered: JWTs, signed by the issuer. */
import { encodeAuthorizationResponse, encodeUser } from "@nats-io/jwt";
import type { KeyPair } from "@nats-io/nkeys";
import {
  accountOf,
  type Decoded,
  decode,
  LOBBY_NAME,
  type Permissions,
  PublicKey,
  permissionsOf,
} from "@swarm-mesh/protocol";
import { z } from "zod";
import { isSignedBy } from "./native-keys.ts";

/** The fields of the server's question that matter here: a JWT's claims. */
const Claims = z.object({
  /** The server's clock, in seconds. */
  iat: z.int(),
  nats: z.object({
    server_id: z.object({ id: z.string().min(1) }),
    /** The key that the answer is for: the server made it for this connection alone. */
    user_nkey: PublicKey,
    client_info: z.object({ nonce: z.string().optional() }),
    connect_opts: z.object({
      nkey: z.string().optional(),
      sig: z.string().optional(),
      name: z.string().optional(),
    }),
  }),
});

/** A connection that wants to be made. */
export interface Caller {
  /** The key that it has proved to hold; `undefined`: none. */
  readonly publicKey: string | undefined;
  /** The node that its client name says it is, not proved. */
  readonly claims: string | undefined;
  /** Does it ask for the lobby? */
  readonly lobby: boolean;
  readonly serverId: string;
  readonly userKey: string;
  readonly askedAtSeconds: number;
}

/** How the server is answered. */
export type Verdict =
  | { readonly kind: "node"; readonly node: string; readonly publicKey: string }
  | { readonly kind: "lobby"; readonly publicKey: string }
  | { readonly kind: "refused"; readonly reason: string };

/** How long somebody may stay in the lobby: time to ask once, and to read the answer. */
const LOBBY_SECONDS = 15;
/** Subscriptions in the lobby: an inbox for answers, and one to spare. */
const LOBBY_SUBSCRIPTIONS = 2;
const LOBBY_PAYLOAD_BYTES = 4_096;

/**
 * Reads a question. Its signature is not looked at: only the server can publish where it arrived, and
 * the answer is of use to nobody but the server that made {@link Caller.userKey}.
 */
export function readCallout(data: Uint8Array): Decoded<Caller> {
  const [, claims = ""] = Buffer.from(data).toString().split(".");
  const decoded = decode(Claims, Buffer.from(claims, "base64url"));
  if (!decoded.ok) return decoded;
  const { iat, nats } = decoded.value;
  const { nkey = "", sig = "", name = "" } = nats.connect_opts;
  const nonce = nats.client_info.nonce ?? "";
  const proved = PublicKey.safeParse(nkey).success && nonce !== "" && isSignedBy(nkey, nonce, sig);
  return {
    ok: true,
    value: {
      publicKey: proved ? nkey : undefined,
      claims: /^node\/([A-Za-z0-9_-]{1,64})$/.exec(name)?.[1],
      lobby: name === LOBBY_NAME,
      serverId: nats.server_id.id,
      userKey: nats.user_nkey,
      askedAtSeconds: iat,
    },
  };
}

/** The answer, signed. */
export async function answerCallout(
  caller: Caller,
  verdict: Verdict,
  issuer: KeyPair,
): Promise<string> {
  const { serverId, userKey } = caller;
  const body =
    verdict.kind === "refused"
      ? { error: verdict.reason }
      : { jwt: await userJwt(caller, verdict, issuer) };
  return encodeAuthorizationResponse(userKey, serverId, issuer, body, { aud: serverId });
}

/**
 * Who the connection is. Its name is its key, as that of a node of the server's configuration is: so
 * connections are found by it. A node's has no end: it would cut every node of a mesh whose
 * authenticators are away (decision 0020).
 */
function userJwt(
  caller: Caller,
  verdict: Exclude<Verdict, { kind: "refused" }>,
  issuer: KeyPair,
): Promise<string> {
  const { publicKey } = verdict;
  if (verdict.kind === "node") {
    const user = userOf(permissionsOf("node", verdict.node));
    return encodeUser(publicKey, caller.userKey, issuer, user, { aud: accountOf("node") });
  }
  const user = {
    ...userOf(permissionsOf("lobby", publicKey)),
    subs: LOBBY_SUBSCRIPTIONS,
    payload: LOBBY_PAYLOAD_BYTES,
  };
  // By the server's clock: ours may be an hour off.
  const exp = caller.askedAtSeconds + LOBBY_SECONDS;
  return encodeUser(publicKey, caller.userKey, issuer, user, { aud: accountOf("lobby"), exp });
}

function userOf({ publish, subscribe, allowResponses }: Permissions) {
  return {
    pub: { allow: [...publish.allow], deny: [...publish.deny] },
    sub: { allow: [...subscribe.allow], deny: [...subscribe.deny] },
    ...(allowResponses === undefined
      ? {}
      : { resp: { max: allowResponses.max, ttl: allowResponses.expiresMs * 1_000_000 } }),
  };
}
