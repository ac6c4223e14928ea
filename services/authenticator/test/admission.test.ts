import { createAccount, createUser } from "@nats-io/nkeys";
import {
  encode,
  IDENTITIES_BUCKET,
  Identity,
  joinToken,
  meshNameOf,
  NODES_MAX,
} from "@swarm-mesh/protocol";
import { describe, expect, test } from "vitest";
import {
  type Claim,
  enrolled,
  type Joining,
  judgeClaim,
  judgeKey,
  judgeToken,
  judgeWithoutToken,
  keysOf,
  revoked,
  revokedKeysOf,
  type TokenState,
} from "../src/admission.ts";
import { isSignedBy, signingPair } from "../src/native-keys.ts";

const KEY = `U${"A".repeat(55)}`;
const OTHER_KEY = `U${"B".repeat(55)}`;
const DEED = { by: "ada@box", at: "2026-01-01T00:00:00.000Z" };
const MESH = "ABCDEFGH";
const TOKEN = joinToken(MESH, "s".repeat(43));

const n7 = enrolled(undefined, { id: "n7", publicKey: KEY, how: "token" }, DEED);
const gone = revoked(n7, { ...DEED, by: "bob@box" }, "stolen");
const renewed = enrolled(gone, { id: "n7", publicKey: OTHER_KEY, how: "key" }, DEED);

describe("a key that connects", () => {
  test.each<[string, Identity | undefined, object]>([
    ["is let in as its node", n7, { kind: "admitted", node: "n7" }],
    ["is refused when nobody knows it", undefined, { code: "unknown_key" }],
    [
      "is refused with who revoked it, and why",
      gone,
      { code: "revoked", message: expect.stringMatching(/n7.*bob@box.*stolen/) },
    ],
    ["is refused when its node has another one now", renewed, { code: "revoked" }],
  ])("%s", (_, holder, verdict) => {
    expect(judgeKey(holder, KEY)).toMatchObject(verdict);
  });

  test("never comes back: the node does, with another one", () => {
    expect(judgeKey(renewed, OTHER_KEY)).toEqual({ kind: "admitted", node: "n7" });
    expect(keysOf(renewed)).toEqual([OTHER_KEY, KEY]);
    expect(renewed).toMatchObject({ revokedAt: null, reason: null, formerKeys: [KEY] });
  });

  test("stays revoked as it was first", () => {
    expect(revoked(gone, { by: "eve@box", at: "2027-01-01T00:00:00.000Z" }, "again")).toBe(gone);
  });
});

describe("who asks to join", () => {
  const joining = (part: Partial<Joining>): Joining => ({
    publicKey: KEY,
    request: { node: "n7", token: TOKEN },
    holder: undefined,
    mesh: MESH,
    ...part,
  });

  test.each<[string, Partial<Joining>, object | undefined]>([
    ["is in already, and keeps the token", { holder: n7 }, { kind: "admitted", node: "n7" }],
    [
      "is another node than the key's",
      { holder: n7, request: { node: "n8" } },
      { code: "id_in_use" },
    ],
    ["is not pardoned by a token", { holder: gone }, { code: "revoked" }],
    ["has no token", { request: { node: "n7" } }, { code: "unknown_key" }],
    [
      "has something that is no token",
      { request: { token: "letmein" } },
      { code: "token_unknown" },
    ],
    [
      "has a token of another mesh",
      { mesh: "ZZZZZZZZ" },
      {
        code: "token_unknown",
        message: expect.stringContaining("another mesh (ABCDEFGH; this one is ZZZZZZZZ)"),
      },
    ],
    ["has a token of this mesh", {}, undefined],
  ])("%s", (_, part, verdict) => {
    const judged = judgeWithoutToken(joining(part));
    if (verdict === undefined) expect(judged).toBeUndefined();
    else expect(judged).toMatchObject(verdict);
  });

  const issued = (record: object): TokenState => ({
    kind: "issued",
    record: { node: null, addedBy: "ada@box", addedAt: DEED.at, usedBy: null, ...record },
  });

  test.each<[string, TokenState, object]>([
    ["a good token names whom it lets in", issued({}), { kind: "good", node: "n7" }],
    ["one for this id too", issued({ node: "n7" }), { kind: "good", node: "n7" }],
    [
      "one for another id does not",
      issued({ node: "n8" }),
      { code: "bad_request", message: expect.stringContaining("n8") },
    ],
    ["one that was never issued does not", { kind: "never-issued" }, { code: "token_unknown" }],
    ["one that has expired does not", { kind: "expired" }, { code: "token_expired" }],
    ["one that was used does not", issued({ usedBy: OTHER_KEY }), { code: "token_used" }],
    [
      "one that this very key took, and was interrupted, does",
      issued({ usedBy: KEY }),
      { kind: "good" },
    ],
  ])("%s", (_, state, verdict) => {
    expect(judgeToken(state, joining({}))).toMatchObject(verdict);
  });

  test("has to say which node it is, when the token does not", () => {
    const nameless = joining({ request: { token: TOKEN } });
    expect(judgeToken(issued({}), nameless)).toMatchObject({ code: "bad_request" });
    expect(judgeToken(issued({ node: "n7" }), nameless)).toMatchObject({ node: "n7" });
  });
});

describe("an id", () => {
  const claim = (part: Partial<Claim>): Claim => ({
    node: "n7",
    publicKey: KEY,
    owner: undefined,
    holder: undefined,
    seen: false,
    count: 0,
    ...part,
  });

  test.each<[string, Partial<Claim>, object]>([
    ["that is free is given", {}, { kind: "enrol" }],
    [
      "whose key was revoked is given to a new one",
      { owner: gone, publicKey: OTHER_KEY, seen: true },
      { kind: "enrol" },
    ],
    ["is not given twice", { owner: n7, publicKey: OTHER_KEY }, { code: "id_in_use" }],
    ["is its own key's already", { owner: n7, holder: n7 }, { kind: "admitted" }],
    ["is not given to another node's key", { node: "n8", holder: n7 }, { code: "id_in_use" }],
    ["is not given to a revoked key", { owner: gone, holder: gone }, { code: "revoked" }],
    [
      "of a node of the configuration is not given",
      { seen: true },
      { code: "id_in_use", message: expect.stringContaining("configuration") },
    ],
    ["of a user of the mesh is not given", { node: "registry" }, { code: "bad_request" }],
    ["more than there may be is not given", { count: NODES_MAX }, { code: "unavailable" }],
  ])("%s", (_, part, verdict) => {
    expect(judgeClaim(claim(part))).toMatchObject(verdict);
  });
});

test("every key that a node ever had stays refused", () => {
  let identity = enrolled(undefined, { id: "n7", publicKey: keyOf(0), how: "key" }, DEED);
  const claim = (publicKey: string) => ({ node: "n7", publicKey, holder: undefined, seen: true });
  let had = 1;
  for (; ; had++) {
    identity = revoked(identity, DEED, "x".repeat(1_024));
    const judged = judgeClaim({ ...claim(keyOf(had)), owner: identity, count: 1 });
    if (judged.kind === "refused") {
      expect(judged.message).toBe(
        `n7 has had ${had} keys, and all stay refused: choose another id`,
      );
      break;
    }
    identity = enrolled(identity, { id: "n7", publicKey: keyOf(had), how: "key" }, DEED);
  }
  expect(had).toBeGreaterThan(100);
  // It must fit into the store, or the node could not be revoked.
  expect(Buffer.byteLength(encode(Identity.parse(identity)))).toBeLessThan(
    IDENTITIES_BUCKET.maxValueBytes,
  );
  for (let key = 0; key < had; key++) {
    expect(revokedKeysOf(identity)).toContain(keyOf(key));
    expect(judgeKey(identity, keyOf(key))).toMatchObject({ code: "revoked" });
  }
});

/** Another public key for each number. */
function keyOf(number: number): string {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const [high = "", low = ""] = [number / 32, number % 32].map((at) => letters[Math.floor(at)]);
  return `U${high}${low}${"A".repeat(53)}`;
}

describe("native signatures", () => {
  const user = createUser();
  const nonce = "RxI5zsOyOyqaCyw";
  const signature = Buffer.from(user.sign(Buffer.from(nonce)));

  test.each(["base64", "base64url"] as const)("are the library's, in %s", (alphabet) => {
    expect(isSignedBy(user.getPublicKey(), nonce, signature.toString(alphabet))).toBe(true);
  });

  test("of another key, of another nonce, or none are refused", () => {
    const text = signature.toString("base64");
    expect(isSignedBy(createUser().getPublicKey(), nonce, text)).toBe(false);
    expect(isSignedBy(user.getPublicKey(), "another", text)).toBe(false);
    expect(isSignedBy(user.getPublicKey(), nonce, "")).toBe(false);
    // One letter off: the checksum says that it is no key.
    const off = user.getPublicKey().replace(/.$/, (last) => (last === "7" ? "6" : "7"));
    expect(isSignedBy(off, nonce, text)).toBe(false);
  });

  test("are made as the library makes them", () => {
    const issuer = createAccount();
    const native = signingPair(issuer.getSeed());
    expect(native.getPublicKey()).toBe(issuer.getPublicKey());
    const bytes = Buffer.from("a claim");
    expect(Buffer.from(native.sign(bytes))).toEqual(Buffer.from(issuer.sign(bytes)));
    expect(meshNameOf(native.getPublicKey())).toMatch(/^[A-Z2-7]{8}$/);
  });
});
