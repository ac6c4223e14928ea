import { createAccount, createUser, fromPublic } from "@nats-io/nkeys";
import fc from "fast-check";
import { expect, test } from "vitest";
import { BadKeyError, isSameKey, SigningKey, VerifyingKey } from "../src/mod.ts";

const pair = createUser();
const key = new SigningKey(pair.getSeed());
const verifying = new VerifyingKey(pair.getPublicKey());

test("signs and verifies as the library of nkeys does", () => {
  expect(key.publicKey).toBe(pair.getPublicKey());
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      const signature = key.sign(text);
      expect(verifying.verify(text, signature)).toBe(true);
      expect(verifying.verify(`${text} `, signature)).toBe(false);
    }),
    { numRuns: 200 },
  );
  const theirs = Buffer.from(pair.sign(Buffer.from("text"))).toString("base64url");
  expect(key.sign("text")).toBe(theirs);
  expect(
    fromPublic(key.publicKey).verify(Buffer.from("text"), Buffer.from(theirs, "base64url")),
  ).toBe(true);
});

test("a signature has one spelling", () => {
  const signature = key.sign("text");
  const others = [
    `${signature}=`,
    `${signature}A`,
    signature.slice(0, -1),
    // The last character's spare bits.
    signature.slice(0, -1) + String.fromCharCode(signature.charCodeAt(85) + 1),
    signature.replaceAll("-", "+").replaceAll("_", "/"),
    "",
  ].filter((other) => other !== signature);
  for (const other of others) expect(verifying.verify("text", other)).toBe(false);
});

test("what is no user's nkey is refused, and no seed is told", () => {
  // Another last character than its own, which is any of 32.
  const last = key.publicKey.endsWith("7") ? "6" : "7";
  const mistyped = key.publicKey.slice(0, -1) + last;
  const bad = ["", "SU", "UA", createAccount().getPublicKey(), mistyped];
  for (const text of bad) expect(() => new VerifyingKey(text)).toThrow(BadKeyError);
  const seed = Buffer.from(createUser().getSeed()).toString();
  const wrong = `${seed.slice(0, -2)}${seed.endsWith("AA") ? "BB" : "AA"}`;
  for (const text of [wrong, "", Buffer.from(createAccount().getSeed()).toString()]) {
    const attempt = () => new SigningKey(Buffer.from(text));
    expect(attempt).toThrow(BadKeyError);
    expect(attempt).not.toThrow(text.slice(4, 20) || "no such text");
  }
});

test("a signer that is the user itself is told, however its file ends", () => {
  const seed = Buffer.from(pair.getSeed());
  expect(isSameKey(seed, Buffer.from(`${seed}\n`))).toBe(true);
  expect(isSameKey(seed, createUser().getSeed())).toBe(false);
  expect(isSameKey(seed, undefined)).toBe(false);
});
