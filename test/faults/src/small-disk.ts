/** A disk that can be filled: a small file system in memory for nats-server's data. */
import { execFile, execFileSync } from "node:child_process";
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const PIECE = Buffer.alloc(1024 * 1024);

export class SmallDisk {
  /** The directory it is mounted on. */
  readonly dir: string;
  readonly #onExit = (): void => this.#unmountNow();

  private constructor(dir: string) {
    this.dir = dir;
    process.once("exit", this.#onExit);
  }

  /** Mounts a disk of so many MiB on `dir`, or says in one line why this machine does not allow it. */
  static async mount(
    dir: string,
    megabytes: number,
  ): Promise<SmallDisk | { readonly refused: string }> {
    if (process.platform !== "linux") return { refused: "full disk: not Linux" };
    await mkdir(dir, { recursive: true });
    try {
      await run("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m,mode=700`, "tmpfs", dir]);
      return new SmallDisk(dir);
    } catch (error) {
      const { stderr = "", message } = error as { stderr?: string; message: string };
      return { refused: `full disk: ${(stderr || message).split("\n", 1)[0]}` };
    }
  }

  /** Fills what is free with a ballast file. */
  async fill(): Promise<void> {
    const file = await open(this.#ballast, "w");
    try {
      // Smaller and smaller pieces, until not a page is left.
      for (let size = PIECE.length; size >= 1; ) {
        const written = await file
          .write(PIECE, 0, size)
          .then(({ bytesWritten }) => bytesWritten)
          .catch((error: NodeJS.ErrnoException) => {
            if (error.code === "ENOSPC") return 0;
            throw error;
          });
        if (written < size) size = Math.floor(size / 16);
      }
    } finally {
      await file.close();
    }
  }

  /** Removes the ballast. */
  async free(): Promise<void> {
    await rm(this.#ballast, { force: true });
  }

  /** Unmounts it, and with it goes what it held. */
  close(): void {
    process.off("exit", this.#onExit);
    this.#unmountNow();
  }

  get #ballast(): string {
    return join(this.dir, "ballast");
  }

  #unmountNow(): void {
    try {
      // Lazily: a server that is being killed may hold files for a moment longer.
      execFileSync("umount", ["--lazy", this.dir], { stdio: "ignore" });
    } catch {
      // It is not mounted any more.
    }
  }
}
