import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import {
  type AddressInfo,
  createServer,
  connect as dial,
  type Server,
  type Socket,
} from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { onTestFinished } from "vitest";

/**
 * A `nats-server` behind a relay of one address: killed and started again, with what it stored. It is
 * gone when its test is over.
 */
export class RestartableServer {
  readonly url: string;
  readonly #relay: Server;
  readonly #dir: string;
  readonly #sockets = new Set<Socket>();
  #child: ChildProcess | undefined;
  #port = 0;

  private constructor(relay: Server, dir: string) {
    this.#relay = relay;
    this.#dir = dir;
    this.url = `nats://127.0.0.1:${(relay.address() as AddressInfo).port}`;
    relay.on("connection", (near) => this.#forward(near));
  }

  static async open(): Promise<RestartableServer> {
    const relay = createServer();
    await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
    const server = new RestartableServer(relay, await mkdtemp(join(tmpdir(), "mesh-nats-")));
    onTestFinished(() => server.#close());
    await server.start();
    return server;
  }

  async start(): Promise<void> {
    const binary = process.env["NATS_SERVER"] ?? "nats-server";
    const ports = await mkdtemp(join(this.#dir, "ports-"));
    const args = ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", this.#dir];
    this.#child = spawn(binary, [...args, "--ports_file_dir", ports], { stdio: "ignore" });
    for (;;) {
      const file = (await readdir(ports))[0];
      const text = file === undefined ? "" : await readFile(join(ports, file), "utf8");
      if (text !== "") {
        this.#port = Number(new URL((JSON.parse(text) as { nats: [string] }).nats[0]).port);
        return;
      }
      await sleep(10);
    }
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    this.#port = 0;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await exited;
  }

  async #close(): Promise<void> {
    await this.kill();
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#relay.close(resolve));
    await rm(this.#dir, { recursive: true, force: true });
  }

  #forward(near: Socket): void {
    if (this.#port === 0) {
      near.destroy();
      return;
    }
    const far = dial(this.#port, "127.0.0.1");
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket);
      socket.pipe(other);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
  }
}
