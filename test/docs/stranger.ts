/**
 * A stranger who follows a page: types its blocks in order into terminals of a clean clone, and
 * compares what is printed with what the page shows.
 *
 * The clone is a directory of links to this one, so nothing is installed anew, and the mesh takes a
 * free port; with `MESH_DOCS_AS_PRINTED=1` it is a real clone and every command is typed as printed.
 */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { TestContext } from "vitest";
import { missing } from "../programs.ts";
import { type Block, blocksOf, placeOf, ROOT, readPage } from "./markdown.ts";
import { differenceOf } from "./output.ts";
import { Terminal } from "./terminal.ts";

/** In which terminal a block is typed that does not say. */
const MAIN = "main";
/** Where the mesh runs that a page takes for granted. */
const MESH = "mesh";
const START = "npm start";
const STARTED = "Ctrl-C ends everything.";
const KEYS = "npx swarmctl keys init --nodes anna,ben";
const ADDRESS = "127.0.0.1:4222";
/** A reader needs seconds to change to another terminal; we do not. */
const WORK = "await sleep(500,";
const WORK_HERE = "await sleep(300,";
/** What runs with a shell, and what a program is run with. */
const PROGRAMS: Readonly<Record<string, (file: string) => string>> = {
  js: (file) => `node ${file}`,
  ts: (file) => `npx tsc -p play && node ${file.replace(/\.ts$/, ".js")}`,
};
const asPrinted = process.env["MESH_DOCS_AS_PRINTED"] === "1";

/**
 * Follows pages from their first block to their last, one after the other with the same mesh running, each
 * with terminals of its own. The mesh is started first, unless it is the first page that does so. Rejects
 * where a page does not do what it says; all that was started is ended when the test is over.
 */
export async function follow(
  pages: readonly string[],
  onTestFinished: TestContext["onTestFinished"],
): Promise<void> {
  const stranger = await Stranger.arrive();
  onTestFinished(() => stranger.leave());
  const first = blocksOf(pages[0] ?? "", readPage(pages[0] ?? ""));
  const startsIt = first.some(({ body, noRun }) => noRun === undefined && body.includes(START));
  if (!startsIt) await stranger.startMesh();
  for (const page of pages) {
    if (!startsIt) await stranger.openPath();
    const blocks = blocksOf(page, readPage(page));
    for (const [index, block] of blocks.entries()) {
      await stranger.take(block, blocks[index + 1]);
    }
    await stranger.closeTerminals();
  }
}

class Stranger {
  readonly #home: string;
  readonly #clone: string;
  readonly #terminals = new Map<string, Terminal>();
  /** Where the output of each terminal's last block begins. */
  readonly #marks = new Map<string, number>();

  private constructor(home: string) {
    this.#home = home;
    this.#clone = join(home, "swarm-mesh");
  }

  static async arrive(): Promise<Stranger> {
    const stranger = new Stranger(await mkdtemp(join(tmpdir(), "mesh-docs-")));
    await mkdir(join(stranger.#home, "blocks"));
    if (asPrinted) execFileSync("git", ["clone", "--quiet", ROOT, stranger.#clone]);
    else linkClone(stranger.#clone);
    return stranger;
  }

  /** What the tutorial has running before its second half, for a page that goes on from there. */
  async startMesh(): Promise<void> {
    const terminal = this.#terminal(MESH);
    await terminal.run(this.#said(asPrinted ? `npm ci && ${KEYS}` : KEYS));
    const mark = await terminal.start(this.#said(START));
    await terminal.waitFor(mark, (printed) => printed.includes(STARTED));
  }

  /** `swarmctl` without `npx`. */
  async openPath(): Promise<void> {
    await this.#terminal(MAIN).run('export PATH="$PWD/node_modules/.bin:$PATH"');
  }

  async take(block: Block, next: Block | undefined): Promise<void> {
    const { lang, words, noRun } = block;
    const tool = words.get("needs");
    if (noRun !== undefined) return;
    if (tool !== undefined && missing(tool) !== undefined) {
      process.stdout.write(`left out: ${placeOf(block)}, which needs ${tool}\n`);
      return;
    }
    const file = words.get("file");
    if (file !== undefined) await this.#write(file, block.body);
    else if (lang === "sh") await this.#type(block, block.body, next);
    else if (lang === "console") await this.#converse(block);
    else if (lang === "text" && words.has("terminal")) await this.#look(block);
    else if (lang in PROGRAMS) await this.#runProgram(block, next);
    else if (!["", "text", "json"].includes(lang)) {
      throw new Error(`${placeOf(block)}: nobody knows how to run ${lang}`);
    }
  }

  /** Closes every terminal but that of the mesh, and with them what runs there. */
  async closeTerminals(): Promise<void> {
    for (const [name, terminal] of this.#terminals) {
      if (name === MESH) continue;
      this.#terminals.delete(name);
      this.#marks.delete(name);
      await terminal.close();
    }
  }

  /** Ends all that was started; the mesh last, so that nodes can leave. */
  async leave(): Promise<void> {
    try {
      await this.closeTerminals();
    } finally {
      await this.#terminals.get(MESH)?.close();
      await rm(this.#home, { recursive: true, force: true });
    }
  }

  async #type(block: Block, commands: string, next: Block | undefined): Promise<void> {
    const name = block.words.get("terminal") ?? MAIN;
    const terminal = this.#terminal(name);
    const shown = next?.lang === "text" && !next.words.has("terminal") ? next : undefined;
    if (block.words.has("stays")) {
      const mark = await terminal.start(this.#said(commands));
      this.#marks.set(name, mark);
      if (shown !== undefined) await this.#see(terminal, mark, shown);
      return;
    }
    this.#marks.set(name, terminal.mark);
    const { output, failures } = await terminal.run(this.#said(commands));
    if (failures.length > 0 && !block.words.has("fails")) {
      throw new Error(`${placeOf(block)}: ${failures.join("; ")}\n${output}`);
    }
    if (shown !== undefined) this.#compare(shown, shown.body, output);
  }

  /** `$ command` and below it what it prints, again and again. */
  async #converse(block: Block): Promise<void> {
    for (const part of block.body.split(/^\$ /m).slice(1)) {
      const [command = "", ...printed] = part.split("\n");
      const shown = { ...block, lang: "text", words: new Map(), body: printed.join("\n") };
      await this.#type(block, command, printed.length > 0 ? shown : undefined);
    }
  }

  async #runProgram(block: Block, next: Block | undefined): Promise<void> {
    const file = `play/block-${block.line}.${block.lang}`;
    await this.#write(file, block.body);
    await this.#type(block, PROGRAMS[block.lang]?.(file) ?? "", next);
  }

  /** Looks at another terminal, until it shows what the page says. */
  async #look(shown: Block): Promise<void> {
    const name = shown.words.get("terminal") ?? MAIN;
    await this.#see(this.#terminal(name), this.#marks.get(name) ?? 0, shown);
  }

  async #see(terminal: Terminal, mark: number, shown: Block): Promise<void> {
    const body = `${shown.body}\n…`;
    try {
      await terminal.waitFor(mark, (printed) => this.#differs(shown, body, printed) === undefined);
    } catch (error) {
      this.#compare(shown, body, terminal.since(mark));
      throw error;
    }
  }

  #compare(shown: Block, body: string, printed: string): void {
    const difference = this.#differs(shown, body, printed);
    if (difference !== undefined) throw new Error(`${placeOf(shown)}: ${difference}`);
  }

  #differs(shown: Block, body: string, printed: string): string | undefined {
    const numbers = shown.words.get("numbers") === "any";
    return differenceOf(this.#said(body), printed, { numbers });
  }

  async #write(file: string, body: string): Promise<void> {
    const path = join(this.#clone, file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, `${this.#said(body)}\n`);
  }

  #terminal(name: string): Terminal {
    const known = this.#terminals.get(name);
    if (known !== undefined) return known;
    const env = strangersEnvironment();
    const scratch = join(this.#home, "blocks");
    const terminal = new Terminal({ cwd: this.#clone, env, scratch });
    this.#terminals.set(name, terminal);
    return terminal;
  }

  /** What the page says, as it is typed here: nothing is installed, and the port is a free one. */
  #said(text: string): string {
    if (asPrinted) return text;
    return text
      .replace(/\bnpm ci\b/g, ":")
      .replace(/\bnpm start\b(?: --)?/g, `${START} -- --port 0`)
      .replaceAll(WORK, WORK_HERE)
      .replaceAll(ADDRESS, this.#address());
  }

  #address(): string {
    const path = join(this.#clone, ".mesh", "dev.json");
    if (!existsSync(path)) return ADDRESS;
    const { url } = JSON.parse(readFileSync(path, "utf8")) as { readonly url: string };
    return new URL(url).host;
  }
}

/** A directory that looks like a clone, and has what is built and installed here. */
function linkClone(clone: string): void {
  mkdirSync(clone);
  for (const name of readdirSync(ROOT)) {
    const made = ["coverage", "play", ".git", ".mesh"].includes(name);
    if (!made) symlinkSync(join(ROOT, name), join(clone, name));
  }
  mkdirSync(join(clone, "play"));
  cpSync(join(ROOT, "play", "tsconfig.json"), join(clone, "play", "tsconfig.json"));
}

/** Nothing of the test's own surroundings but where programs and caches are. */
function strangersEnvironment(): NodeJS.ProcessEnv {
  const names = ["PATH", "HOME", "LANG", "XDG_CACHE_HOME", "TMPDIR"];
  // A stranger has no nats-server: it is found, or fetched.
  if (!asPrinted) names.push("NATS_SERVER");
  return Object.fromEntries(names.map((name) => [name, process.env[name]]));
}
