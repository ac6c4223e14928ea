/** `<dir>/dev.json`: there while a dev mesh runs in that directory, for commands and for checks. */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decode } from "@swarm-mesh/protocol";
import { z } from "zod";

const DevProcess = z.object({
  /** `coordinator-1`, `n1`, `nats-server`. */
  name: z.string(),
  kind: z.string(),
  pid: z.int().positive(),
});

/** The kind of process that a nats-server is, whatever its name. */
export const SERVER_KIND = "nats-server";

export const DevFile = z.object({
  /** Of all servers, separated by commas. */
  url: z.string(),
  /** Where browsers connect, `ws://…`; absent in files of before there was one. */
  websocket: z.string().optional(),
  /** Absolute paths of seed files, by the name of their user. */
  keys: z.record(z.string(), z.string()),
  processes: z.array(DevProcess),
  /** Of `swarmctl dev` itself. */
  pid: z.int().positive().optional(),
});
export type DevFile = z.infer<typeof DevFile>;

/** Where the mesh of a directory is described. */
export function devFilePath(dir: string): string {
  return join(dir, "dev.json");
}

/** What runs in `dir`; `undefined` when nothing does, or the file is not ours. */
export function readDevFile(dir: string): DevFile | undefined {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(devFilePath(dir));
  } catch {
    // No file: no dev mesh.
    return undefined;
  }
  const file = decode(DevFile, bytes);
  return file.ok ? file.value : undefined;
}

/** A reader sees the whole file or none. */
export function writeDevFile(dir: string, file: DevFile): void {
  const draft = `${devFilePath(dir)}.draft`;
  writeFileSync(draft, `${JSON.stringify(file, null, 2)}\n`);
  renameSync(draft, devFilePath(dir));
}

/** Nothing runs in `dir` any more. A repeat does nothing. */
export function removeDevFile(dir: string): void {
  rmSync(devFilePath(dir), { force: true });
}
