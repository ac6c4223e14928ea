import { readFileSync, statSync } from "node:fs";
import { ConfigError } from "./config.ts";

/**
 * Reads an nkey seed from `file`. Refuses a file that others may read: a seed is the identity.
 * The seed itself is never part of an error.
 */
export function readSeed(file: string): Uint8Array {
  let mode: number;
  let text: string;
  try {
    mode = statSync(file).mode;
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError(`key ${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
  if ((mode & 0o077) !== 0) {
    throw new ConfigError(
      `key ${file} may be read by others (mode ${(mode & 0o777).toString(8)}): chmod 600 ${file}`,
    );
  }
  const seed = /^S[A-Z2-7]{57}$/m.exec(text)?.[0];
  if (seed === undefined)
    throw new ConfigError(`key ${file} holds no nkey seed (a line S…, 58 characters)`);
  return new TextEncoder().encode(seed);
}
