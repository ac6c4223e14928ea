/** Texts that users sign with their nkeys, and what tells whether they did. */
import { type KeyObject, sign, verify } from "node:crypto";
import { fromSeed } from "@nats-io/nkeys";
import { nativePrivateKey, nativePublicKey } from "./native-keys.ts";

/** Something that is no nkey of a user. */
export class BadKeyError extends Error {
  override readonly name = "BadKeyError";
  readonly code = "bad-key";
}

/** A key that signs. */
export class SigningKey {
  /** The public nkey, `U…`. */
  readonly publicKey: string;
  readonly #key: KeyObject;

  /** Of the seed of a user, `SU…`, as its file has it. Throws {@link BadKeyError}. */
  constructor(seed: Uint8Array) {
    const text = Buffer.from(seed).toString("ascii").trim();
    this.publicKey = publicKeyOf(text);
    this.#key = nativePrivateKey(text);
  }

  /** The signature of `text`, base64url without padding. */
  sign(text: string): string {
    return sign(null, Buffer.from(text), this.#key).toString("base64url");
  }
}

/**
 * Is `signer` the seed of `user`? Then it must not sign: whoever connects signs a text of the server's
 * choice, the nonce, and a false server would choose that of a task.
 */
export function isSameKey(signer: Uint8Array, user: Uint8Array | undefined): boolean {
  return user !== undefined && new SigningKey(signer).publicKey === new SigningKey(user).publicKey;
}

/** A key that tells whether its owner signed. */
export class VerifyingKey {
  readonly #key: KeyObject;

  /** Of the public nkey of a user, `U…`. Throws {@link BadKeyError}. */
  constructor(publicKey: string) {
    try {
      if (!publicKey.startsWith("U")) throw new Error("it is not a user's");
      this.#key = nativePublicKey(publicKey);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new BadKeyError(`${JSON.stringify(publicKey.slice(0, 80))}: ${reason}`);
    }
  }

  /** Is `signature`, base64url, that of `text`? Anything else is `false`. */
  verify(text: string, signature: string): boolean {
    const bytes = Buffer.from(signature, "base64url");
    // Two texts of one signature would be two signatures.
    if (bytes.toString("base64url") !== signature) return false;
    return verify(null, Buffer.from(text), this.#key, bytes);
  }
}

function publicKeyOf(seed: string): string {
  try {
    const publicKey = fromSeed(Buffer.from(seed)).getPublicKey();
    if (publicKey.startsWith("U")) return publicKey;
    throw new Error("it is not a user's");
  } catch (error) {
    // The seed itself is in no message.
    const reason = error instanceof Error ? error.message : "it cannot be read";
    throw new BadKeyError(`no usable seed: ${reason}`);
  }
}
