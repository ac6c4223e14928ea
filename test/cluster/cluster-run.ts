/** A mesh on three servers under load, with everything written down for the checker. */
import { readFileSync } from "node:fs";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openManager, wantedStores } from "@swarm-mesh/bus";
import { Checker, readHistory } from "@swarm-mesh/checker";
import { MeshClient, MeshClientError } from "@swarm-mesh/client";
import { isAlive, Mesh, type MeshOptions } from "@swarm-mesh/testkit";
import { test as base } from "vitest";
import { Recorder } from "../faults/src/recorder.ts";

const HANDLER = join(import.meta.dirname, "handlers", "judged.js");
export const SERVERS = ["nats-1", "nats-2", "nats-3"] as const;
/** Longer than any election, and than the tests let the servers be away. */
const PATIENCE_MS = 60_000;
const POLL_MS = 20;
/** How long a server's or a node's trouble may show in what others do: a lease on a cluster, and more. */
const FAULT_MARGIN_MS = 14_000;

/** What clients saw while they submitted one task after the other. */
export interface Load {
  /** Tasks that were acknowledged. */
  readonly acknowledged: number;
  /** Of these, those whose result came. */
  readonly results: number;
  /** Longest time between two acknowledgements, and between two results, in milliseconds. */
  readonly submitStallMs: number;
  readonly resultStallMs: number;
  /** What was thrown at a caller. */
  readonly errors: readonly string[];
}

export class ClusterRun {
  readonly mesh: Mesh;
  readonly client: MeshClient;
  readonly #recorder: Recorder;
  readonly #dir: string;
  #serial = 0;

  private constructor(parts: { mesh: Mesh; client: MeshClient; recorder: Recorder; dir: string }) {
    this.mesh = parts.mesh;
    this.client = parts.client;
    this.#recorder = parts.recorder;
    this.#dir = parts.dir;
  }

  static async start(dir: string, options: MeshOptions): Promise<ClusterRun> {
    const mesh = await Mesh.start({
      servers: SERVERS.length,
      handles: [`work=module:${HANDLER}`],
      env: { MESH_RUNS: join(dir, "runs.jsonl") },
      ...options,
    });
    const recorder = await Recorder.start({
      connect: (user) => mesh.connect(user),
      file: join(dir, "history.jsonl"),
      tracedCapabilities: ["work"],
    });
    const client = new MeshClient(await mesh.connect("client"), { deadlineMs: PATIENCE_MS });
    return new ClusterRun({ mesh, client, recorder, dir });
  }

  /** Submits a task that takes `ms`, and writes it down; `client` is another than the run's own. */
  async submit(id: string, ms: number, client = this.client): Promise<void> {
    const about = { by: "client", task: id, capability: "work" } as const;
    this.#recorder.note({ ...about, what: "submitting" });
    const { duplicate } = await client.submit("work", { steps: 10, ms: ms / 10 }, { id });
    this.#recorder.note({ ...about, what: "acknowledged", duplicate });
  }

  /** Keeps `width` tasks of 10 ms on their way until the returned function is called. */
  load(width = 6): () => Promise<Load> {
    let going = true;
    const errors: string[] = [];
    const submits = new Stall();
    const results = new Stall();
    const loop = async (): Promise<void> => {
      while (going) {
        const id = `t${this.#serial++}`;
        try {
          await this.submit(id, 10);
          submits.tick();
          await this.client.wait(id, { timeoutMs: PATIENCE_MS });
          results.tick();
        } catch (error) {
          errors.push(`${id}: ${error instanceof MeshClientError ? error.message : String(error)}`);
        }
      }
    };
    const loops = Array.from({ length: width }, loop);
    return async () => {
      going = false;
      await Promise.all(loops);
      return {
        acknowledged: submits.count,
        results: results.count,
        submitStallMs: submits.longestMs,
        resultStallMs: results.longestMs,
        errors,
      };
    };
  }

  /** The server that leads a stream. */
  async leaderOf(stream: string): Promise<string> {
    const [info] = await this.#infos([stream]);
    return info?.cluster?.leader ?? "";
  }

  /** The server that leads each store; "" where there is none. */
  async leaders(): Promise<readonly string[]> {
    const infos = await this.#infos(wantedStores(SERVERS.length).map(({ name }) => name));
    return infos.map(({ cluster }) => cluster?.leader ?? "");
  }

  /** What is told of each stream. Rejects while the servers cannot tell. */
  async #infos(streams: readonly string[]) {
    const nc = await this.mesh.connect("admin");
    try {
      const manager = await openManager(nc);
      return await Promise.all(streams.map((stream) => manager.streams.info(stream)));
    } finally {
      await nc.close();
    }
  }

  /** Waits until a handler has come to its end, whatever the mesh knows of it. */
  async hasEnded(task: string): Promise<void> {
    const lines = () => readFileSync(join(this.#dir, "runs.jsonl"), "utf8").split("\n");
    const isEnd = (line: string) => line.includes(`"${task}"`) && line.includes('"how":"ok"');
    await until(`${task} has ended`, () => lines().some(isEnd));
  }

  kill(name: string, signal: NodeJS.Signals = "SIGKILL"): void {
    this.#recorder.note({ by: "test", what: "fault", fault: "server-down", target: name });
    this.mesh.kill(name, signal);
  }

  startServer(name: string, conf?: string): void {
    this.mesh.startServer(name, conf);
    this.#recorder.note({ by: "test", what: "healed", fault: "server-down", target: name });
  }

  /** Stops a server in order, starts it again, by `conf` when given, and waits until nothing is behind. */
  async restart(name: string, conf?: string): Promise<void> {
    const pid = this.mesh.pid(name);
    this.kill(name, "SIGTERM");
    await until(`${name} has ended`, () => !isAlive(pid));
    this.startServer(name, conf);
    await this.isWhole();
  }

  /** Waits until every store has a leader and no copy is behind: then another server may go. */
  async isWhole(): Promise<void> {
    const names = wantedStores(SERVERS.length).map(({ name }) => name);
    const isWhole = async (): Promise<boolean> => {
      const infos = await this.#infos(names).catch(() => []);
      const well = infos.filter(({ cluster }) => {
        const copies = cluster?.replicas ?? [];
        const led = (cluster?.leader ?? "") !== "" && copies.length === SERVERS.length - 1;
        return led && copies.every(({ current, offline }) => current && offline !== true);
      });
      return well.length === names.length;
    };
    await until("no copy is behind", isWhole, PATIENCE_MS);
  }

  /** Notes that `targets` are parted from the others, or together with them again. */
  noteParted(what: "fault" | "healed", targets: readonly string[]): void {
    for (const target of targets) {
      this.#recorder.note({ by: "test", what, fault: "parted", target });
    }
  }

  /** Judges all that was seen; returns the violations, and keeps the history of any. */
  async judge(): Promise<readonly string[]> {
    await this.#recorder.finish({ traces: [join(this.#dir, "runs.jsonl")] });
    const checker = new Checker({ faultMs: FAULT_MARGIN_MS });
    const file = join(this.#dir, "history.jsonl");
    for await (const { line, number } of readHistory(file)) checker.hear(line, number, file);
    const { violations } = checker.judge();
    if (violations.length > 0) {
      const kept = `${this.#dir}-violations.jsonl`;
      await copyFile(file, kept);
      process.stdout.write(`the history is in ${kept}\n`);
    }
    const lines = readFileSync(file, "utf8").split("\n");
    return violations.map(({ rule, task, problem }) => {
      const about = lines.filter((line) => line.includes(`"task":"${task}"`));
      return [`${rule}: ${task} ${problem}`, ...about].join("\n  ");
    });
  }
}

class Stall {
  count = 0;
  longestMs = 0;
  #last = performance.now();

  tick(): void {
    const now = performance.now();
    this.count++;
    this.longestMs = Math.max(this.longestMs, now - this.#last);
    this.#last = now;
  }
}

/** Prints what was measured. */
export function report(what: string, figures: object): void {
  process.stdout.write(`${what}: ${JSON.stringify(figures)}\n`);
}

/** Waits until `condition` holds; how long it took, in milliseconds. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 30_000,
): Promise<number> {
  const started = performance.now();
  while (!(await condition())) {
    if (performance.now() - started > timeoutMs) {
      throw new Error(`not within ${timeoutMs} ms: ${what}`);
    }
    await sleep(POLL_MS);
  }
  return performance.now() - started;
}

/** Vitest's `test` with a mesh on three servers, whose processes are all gone when it is over. */
export const test = base.extend<{ options: MeshOptions; run: ClusterRun }>({
  options: [{ nodes: 3, replicas: 2 }, { injected: true }],
  run: async ({ options }, use) => {
    const dir = await mkdtemp(join(tmpdir(), "mesh-cluster-"));
    const run = await ClusterRun.start(dir, options);
    await use(run);
    await run.mesh.stop();
    await rm(dir, { recursive: true, force: true });
  },
});
