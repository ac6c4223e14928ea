/**
 * Programs that some tests need and npm does not bring. Where one is missing its tests are left out,
 * with a line that says so; where `MESH_REQUIRE` names it (`chromium,prometheus`) they fail.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Where the node in Go is. */
export const GO_EXAMPLE = join(import.meta.dirname, "..", "examples", "node-go");

interface Program {
  readonly isThere: () => boolean;
  /** How to get it. */
  readonly hint: string;
}

/** Another one is looked for by its name alone. */
const KNOWN: Readonly<Record<string, Program>> = {
  chromium: {
    isThere: () => findChromium() !== undefined,
    hint: "apt-get install chromium, or CHROMIUM=<path>",
  },
  prometheus: {
    isThere: () => onPath("prometheus") !== undefined && onPath("promtool") !== undefined,
    hint: "apt-get install prometheus",
  },
  go: { isThere: hasGo, hint: "install Go, and let it fetch its modules" },
};

const said = new Set<string>();

/**
 * Why what needs `name` is left out here, printed once; `undefined`: the program is there. Throws where
 * `MESH_REQUIRE` names it.
 */
export function missing(name: string): string | undefined {
  const { isThere, hint } = KNOWN[name] ?? {
    isThere: () => onPath(name) !== undefined,
    hint: `put \`${name}\` on the PATH`,
  };
  if (isThere()) return undefined;
  const reason = `no ${name} on this machine (${hint})`;
  const required = process.env["MESH_REQUIRE"]?.split(",") ?? [];
  if (required.includes(name)) throw new Error(`${reason}, and MESH_REQUIRE names it`);
  if (!said.has(name)) process.stderr.write(`left out: ${reason}\n`);
  said.add(name);
  return reason;
}

/** The browser there is; the one that `CHROMIUM` names comes first. */
export function findChromium(): string | undefined {
  const named = process.env["CHROMIUM"];
  if (named !== undefined && existsSync(named)) return named;
  const names = ["chromium", "chromium-browser", "google-chrome"];
  return names.map(onPath).find((path) => path !== undefined);
}

/** Where a program is; `undefined`: nowhere. */
function onPath(name: string): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Its modules come from a proxy, or from an earlier time. */
function hasGo(): boolean {
  if (onPath("go") === undefined) return false;
  const fetched = spawnSync("go", ["mod", "download"], { cwd: GO_EXAMPLE, timeout: 60_000 });
  return fetched.status === 0;
}
