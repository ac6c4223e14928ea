/** `swarmctl keys signer`: a key that signs tasks, and the line that has nodes trust it. */
import { appendFile, readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { SigningKey } from "@swarm-mesh/bus";
import { parseSigners, type Signers, SignersFileError } from "@swarm-mesh/node";
import { makeSeedFile, readSeed } from "@swarm-mesh/server";
import type { Call } from "./call.ts";
import { usageError } from "./exit.ts";
import { print } from "./output.ts";
import { outputOf } from "./target.ts";

export interface SignerFlags {
  readonly seed: string;
  readonly trust?: string;
  readonly capability?: readonly string[];
  readonly from?: string;
  readonly until?: string;
}

/** Makes the seed when it is missing, and adds or prints the line. A repeat changes nothing. */
export async function makeSigner(call: Call<SignerFlags>): Promise<void> {
  const format = outputOf(call.globals);
  const { flags, io } = call;
  const name = call.args[0] ?? "";
  const seed = resolve(io.cwd, flags.seed);
  // What cannot be a line must not leave a seed behind.
  parsed(signerLine(name, SAMPLE_KEY, flags), "the signer");
  const file = flags.trust === undefined ? undefined : resolve(io.cwd, flags.trust);
  const before = file === undefined ? "" : await textOf(file);
  const known = parsed(before, flags.trust ?? "");
  await makeSeedFile(seed);
  const { publicKey } = new SigningKey(await readSeed(seed));
  const line = signerLine(name, publicKey, flags);
  const there = known.has(publicKey);
  if (file !== undefined && !there) {
    const gap = before === "" || before.endsWith("\n") ? "" : "\n";
    await appendFile(file, `${gap}${line}\n`);
  }
  print(io, format, { name, publicKey, seed, line, trust: file ?? null, added: !there }, () => {
    if (file === undefined) return `${line}\n`;
    return there
      ? `${flags.trust} has this key already; its line is as it was\n`
      : `${name} is ${publicKey}; its line is in ${flags.trust}, its seed in ${flags.seed}\n`;
  });
}

/** A key of nobody, to try a line with. */
const SAMPLE_KEY = "UCQ5MQR7P4BYNVGU7RKD6DU65KAE3NHMK7MM22BJG6D3VAPAFMLXKMRM";

/** One line of the file of trusted signers. */
export function signerLine(
  name: string,
  publicKey: string,
  { capability = [], from, until }: Omit<SignerFlags, "seed" | "trust">,
): string {
  return [
    ...[name, publicKey],
    ...(capability.length === 0 ? [] : [`capabilities=${capability.join(",")}`]),
    ...(from === undefined ? [] : [`from=${from}`]),
    ...(until === undefined ? [] : [`until=${until}`]),
  ].join(" ");
}

function parsed(text: string, what: string): Signers {
  try {
    return parseSigners(text);
  } catch (error) {
    if (error instanceof SignersFileError) throw usageError(`${what}: ${error.message}`);
    throw error;
  }
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
    throw error;
  }
}
