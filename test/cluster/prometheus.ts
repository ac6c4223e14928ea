/** A real Prometheus, where this machine has one (Debian's package `prometheus`). */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import { stringify } from "yaml";

export interface Target {
  readonly job: string;
  readonly port: number;
}

interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

interface Rule {
  readonly name: string;
  readonly health: string;
  readonly lastError?: string;
  readonly state: string;
}

/** Runs promtool; what it says. Rejects when it finds something wrong. */
export async function promtool(...args: readonly string[]): Promise<string> {
  return run("promtool", ...args);
}

/** Has promtool look at a page, which it reads from its input. */
export async function checkPage(page: string): Promise<string> {
  const child = spawn("promtool", ["check", "metrics"], { stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.end(page);
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (part) => (said += part));
  await new Promise((resolve) => child.once("close", resolve));
  return said;
}

async function run(program: string, ...args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(program, [...args]);
  return stdout + stderr;
}

export class Prometheus {
  readonly #url: string;
  readonly #child: ChildProcess;
  readonly #dir: string;

  private constructor(url: string, child: ChildProcess, dir: string) {
    this.#url = url;
    this.#child = child;
    this.#dir = dir;
  }

  /** Starts one that scrapes twice a second; resolves when every target was scraped. */
  static async start(port: number, targets: readonly Target[], rules: string): Promise<Prometheus> {
    const dir = await mkdtemp(join(tmpdir(), "mesh-prometheus-"));
    const config = {
      global: { scrape_interval: "500ms", scrape_timeout: "500ms", evaluation_interval: "500ms" },
      rule_files: [rules],
      scrape_configs: [...new Set(targets.map(({ job }) => job))].map((name) => ({
        job_name: name,
        static_configs: targets
          .filter(({ job }) => job === name)
          .map(({ port }) => ({ targets: [`127.0.0.1:${port}`] })),
      })),
    };
    await writeFile(join(dir, "prometheus.yml"), stringify(config));
    const child = spawn(
      "prometheus",
      [
        ...[`--config.file=${join(dir, "prometheus.yml")}`, `--storage.tsdb.path=${dir}/data`],
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { stdio: "ignore" },
    );
    const started = new Prometheus(`http://127.0.0.1:${port}`, child, dir);
    const allUp = () => started.query("count(up == 1)").catch((error) => error);
    try {
      await expect
        .poll(allUp, { timeout: 60_000 })
        .toMatchObject([{ value: [expect.any(Number), String(targets.length)] }]);
    } catch (error) {
      await started.stop();
      throw error;
    }
    return started;
  }

  /** The series of an expression, now. Rejects with Prometheus' own words when it is none. */
  async query(expr: string): Promise<readonly Series[]> {
    const { result } = await this.#get<{ result: Series[] }>(
      `query?query=${encodeURIComponent(expr)}`,
    );
    return result;
  }

  async rules(): Promise<readonly Rule[]> {
    const { groups } = await this.#get<{ groups: { rules: Rule[] }[] }>("rules");
    return groups.flatMap(({ rules }) => rules);
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGTERM");
    await ended;
    await rm(this.#dir, { recursive: true, force: true });
  }

  async #get<T>(path: string): Promise<T> {
    const response = await fetch(`${this.#url}/api/v1/${path}`);
    const answer = (await response.json()) as { status: string; data: T; error?: string };
    if (answer.status !== "success") throw new Error(`${path}: ${answer.error}`);
    return answer.data;
  }
}
