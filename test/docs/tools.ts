/** Programs that a page needs and not every machine has. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { ROOT } from "./markdown.ts";

/** Where the node in Go is. */
export const GO_EXAMPLE = join(ROOT, "examples", "node-go");

/** Is this program to be had on this machine, with what it needs from elsewhere? */
export function isThere(tool: string): boolean {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  if (!folders.some((folder) => existsSync(join(folder, tool)))) return false;
  if (tool !== "go") return true;
  // Its modules come from a proxy, or from an earlier time.
  const fetched = spawnSync("go", ["mod", "download"], { cwd: GO_EXAMPLE, timeout: 60_000 });
  return fetched.status === 0;
}
