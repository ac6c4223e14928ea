/**
 * The file through which a program saves: `$MESH_CHECKPOINT`.
 *
 * It is read as a whole whenever it has changed, and only when it did not change while being read.
 * A program that writes a large state does best to write beside it and rename.
 */
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CHECKPOINT_MAX_BYTES } from "@swarm-mesh/protocol";
import type { Clock } from "@swarm-mesh/runtime";
import { CheckpointError, type TaskContext } from "./handler.ts";
import { forgetDirectory, keepDirectory } from "./process-group.ts";

/** How often the file is looked at: a change is saved within 250 ms. */
const POLL_INTERVAL_MS = 100;

export class CheckpointFile {
  readonly path: string;
  readonly #directory: string;
  readonly #context: TaskContext;
  /** Size and time of the state that was looked at last. */
  #seen = "";
  #content: Buffer;

  private constructor(directory: string, context: TaskContext) {
    this.#directory = directory;
    this.#context = context;
    this.path = join(directory, "checkpoint");
    this.#content = Buffer.from(context.saved ?? []);
  }

  /** Makes a private directory with the file in it; what an earlier try saved is its content. */
  static async open(context: TaskContext): Promise<CheckpointFile> {
    const directory = await mkdtemp(join(tmpdir(), "mesh-task-"));
    keepDirectory(directory);
    const file = new CheckpointFile(directory, context);
    await writeFile(file.path, file.#content, { mode: 0o600 });
    file.#seen = await versionOf(file.path);
    return file;
  }

  /** Saves each change until `signal` aborts. */
  async follow(clock: Clock, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await clock.sleep(POLL_INTERVAL_MS, signal);
      if (!signal.aborted) await this.save();
    }
  }

  /** Saves the file's content if it has changed. A failure is logged: the task goes on. */
  async save(): Promise<void> {
    const before = await versionOf(this.path);
    if (before === this.#seen || before === "") return;
    const content = await this.#read();
    // Changed while it was read: the next look sees it whole.
    if (content === undefined || (await versionOf(this.path)) !== before) return;
    this.#seen = before;
    if (content.equals(this.#content)) return;
    this.#content = content;
    try {
      await this.#context.checkpoint(content);
    } catch (error) {
      if (error instanceof CheckpointError && error.code === "task_over") return;
      this.#context.log.warn({ err: error }, "checkpoint file not saved");
    }
  }

  async remove(): Promise<void> {
    forgetDirectory(this.#directory);
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #read(): Promise<Buffer | undefined> {
    const { size } = await stat(this.path).catch(() => ({ size: 0 }));
    // Only its size matters then: the save refuses it with the right words.
    if (size > CHECKPOINT_MAX_BYTES) return Buffer.alloc(CHECKPOINT_MAX_BYTES + 1);
    return readFile(this.path).catch(() => undefined);
  }
}

/** What changes when the file does; `""` when there is none. */
async function versionOf(path: string): Promise<string> {
  try {
    const { ino, mtimeNs, size } = await stat(path, { bigint: true });
    return `${ino}/${mtimeNs}/${size}`;
  } catch {
    return "";
  }
}
