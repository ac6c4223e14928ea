import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A real `nats-server` with JetStream on a free port, without accounts, gone when its test ends. */
export class NatsServer {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #dir: string;

  private constructor(url: string, child: ChildProcess, dir: string) {
    this.url = url;
    this.#child = child;
    this.#dir = dir;
  }

  static async start(): Promise<NatsServer> {
    const dir = await mkdtemp(join(tmpdir(), "mesh-nats-"));
    // Found once for all, by test/find-nats-server.ts.
    const child = spawn(
      process.env["NATS_SERVER"] ?? "nats-server",
      ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", dir, "--ports_file_dir", dir],
      { stdio: "ignore" },
    );
    for (let attempt = 0; attempt < 500; attempt++) {
      const ports = (await readdir(dir)).find((name) => name.endsWith(".ports"));
      if (ports !== undefined) {
        const text = await readFile(join(dir, ports), "utf8");
        const url = text === "" ? undefined : (JSON.parse(text) as { nats: string[] }).nats[0];
        if (url !== undefined) return new NatsServer(url, child, dir);
      }
      await sleep(10);
    }
    throw new Error("nats-server did not write its ports file within 5 s");
  }

  async stop(): Promise<void> {
    const exited = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await exited;
    await rm(this.#dir, { recursive: true, force: true });
  }
}
