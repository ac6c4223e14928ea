import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A real `nats-server` on a free port of this machine, with a directory of its own. */
export class NatsServer {
  readonly url: string;
  /** Ends it at once, and removes its directory. */
  readonly stop: () => Promise<void>;

  private constructor(url: string, stop: () => Promise<void>) {
    this.url = url;
    this.stop = stop;
  }

  /**
   * Starts one with JetStream and without accounts, or by `conf`, the text of its configuration, which
   * it reads in its directory. Rejects when it does not listen within 5 s, and leaves nothing then.
   */
  static async start(conf?: string): Promise<NatsServer> {
    const dir = await mkdtemp(join(tmpdir(), "mesh-nats-"));
    if (conf !== undefined) await writeFile(join(dir, "nats.conf"), conf);
    const child = spawn(
      // Found once for all, by test/find-nats-server.ts.
      process.env["NATS_SERVER"] ?? "nats-server",
      [
        ...(conf === undefined ? ["-js", "-sd", dir] : ["-c", "nats.conf"]),
        ...["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", dir],
      ],
      { cwd: dir, stdio: "ignore" },
    );
    const ended = new Promise((resolve) => child.once("exit", resolve).once("error", resolve));
    const stop = async (): Promise<void> => {
      child.kill("SIGKILL");
      await ended;
      await rm(dir, { recursive: true, force: true });
    };
    for (let attempt = 0; attempt < 500; attempt++) {
      const ports = (await readdir(dir)).find((name) => name.endsWith(".ports"));
      if (ports !== undefined) {
        const text = await readFile(join(dir, ports), "utf8");
        const url = text === "" ? undefined : (JSON.parse(text) as { nats: string[] }).nats[0];
        if (url !== undefined) return new NatsServer(url, stop);
      }
      await sleep(10);
    }
    await stop();
    throw new Error("nats-server did not write its ports file within 5 s");
  }
}
