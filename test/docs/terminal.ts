/**
 * A terminal of the reader's: one shell that is given block after block.
 *
 * Its output is kept as it comes, so that what a running program prints can be waited for.
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { endOfAll } from "./processes.ts";

/** As printed, a block may install everything. */
const BLOCK_TIMEOUT_MS = process.env["MESH_DOCS_AS_PRINTED"] === "1" ? 900_000 : 45_000;
const END_TIMEOUT_MS = 15_000;
const POLL_MS = 20;
const DONE = "--block-done--";
const FAILED = "--command-failed--";

export interface TerminalOptions {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** Where the blocks are kept while they run. */
  readonly scratch: string;
}

/** What a block that ended printed, and which of its commands ended with another status than 0. */
export interface Printed {
  readonly output: string;
  readonly failures: readonly string[];
}

export class Terminal {
  readonly #shell: ChildProcessWithoutNullStreams;
  readonly #scratch: string;
  readonly #ended: Promise<void>;
  /** In the environment of all that is started here. */
  readonly #mark: string;
  #output = "";
  #blocks = 0;

  constructor({ cwd, env, scratch }: TerminalOptions) {
    this.#scratch = scratch;
    this.#mark = `TERMINAL_OF_THE_READER=${randomUUID()}`;
    const [name = "", value] = this.#mark.split("=");
    // A group of its own: Ctrl-C reaches what runs in it and nobody else.
    this.#shell = spawn("bash", ["--norc", "--noprofile"], {
      cwd,
      env: { ...env, [name]: value },
      detached: true,
    });
    this.#ended = new Promise((resolve) => this.#shell.once("exit", () => resolve()));
    for (const stream of [this.#shell.stdout, this.#shell.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.#output += text;
      });
    }
    this.#type(`exec 2>&1; set -E; trap 'echo "${FAILED} $? $BASH_COMMAND"' ERR`);
  }

  /** Where the output ends now. */
  get mark(): number {
    return this.#output.length;
  }

  /** What was printed since `mark`. */
  since(mark: number): string {
    return withoutNotes(this.#output.slice(mark));
  }

  /** Types a block and does not wait. Returns the mark where its output begins. */
  async start(block: string): Promise<number> {
    const { mark } = this;
    const path = join(this.#scratch, `${this.#shell.pid}-${this.#blocks++}.sh`);
    await writeFile(path, `${block}\n`);
    // What reads its standard input must not read our next block.
    this.#type(`. '${path}' </dev/null; echo; echo ${DONE}`);
    return mark;
  }

  /** Types a block and waits until it has ended. */
  async run(block: string): Promise<Printed> {
    const mark = await this.start(block);
    const end = await this.#until(() => {
      const at = this.#output.indexOf(`\n${DONE}\n`, mark);
      return at < 0 ? undefined : at;
    });
    const printed = this.#output.slice(mark, end);
    return {
      output: withoutNotes(printed),
      failures: [...printed.matchAll(new RegExp(`^${FAILED} (.*)$`, "gm"))].map(
        ([, what = ""]) => what,
      ),
    };
  }

  /** Resolves once `found` says so of what was printed since `mark`; rejects when it never does. */
  async waitFor(mark: number, found: (printed: string) => boolean): Promise<void> {
    await this.#until(() => (found(this.since(mark)) ? true : undefined));
  }

  /** Ctrl-C. Resolves when the shell, and all that it left in the background, is gone. */
  async close(): Promise<void> {
    this.#signal("SIGINT");
    this.#shell.stdin.end();
    const late = new AbortController();
    const timeout = sleep(END_TIMEOUT_MS, undefined, { signal: late.signal });
    await Promise.race([this.#ended, timeout]);
    late.abort();
    timeout.catch(() => undefined); // Nobody waits for it any more.
    // Jobs in the background do not hear Ctrl-C.
    this.#signal("SIGTERM");
    const left = await endOfAll(this.#mark);
    if (left.length > 0) throw new Error(`left running:\n${left.join("\n")}`);
  }

  #type(line: string): void {
    this.#shell.stdin.write(`${line}\n`);
  }

  #signal(signal: NodeJS.Signals): void {
    try {
      process.kill(-(this.#shell.pid ?? 0), signal);
    } catch {
      // The group is gone.
    }
  }

  async #until<T>(look: () => T | undefined): Promise<T> {
    const deadline = performance.now() + BLOCK_TIMEOUT_MS;
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (performance.now() > deadline) {
        throw new Error(`not within ${BLOCK_TIMEOUT_MS} ms; the terminal shows\n${this.#output}`);
      }
      await sleep(POLL_MS);
    }
  }
}

/**
 * Without our own marks, without the shell's word that a job of its was killed, and without what npm
 * thinks of the settings of this machine.
 */
function withoutNotes(text: string): string {
  return text
    .split("\n")
    .filter((line) => !line.startsWith(DONE) && !line.startsWith(FAILED))
    .filter((line) => !/^npm warn |^\S+: line \d+: +\d+ (Killed|Terminated)/.test(line))
    .join("\n");
}
