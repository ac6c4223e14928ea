/** What a whole mesh did, as seen from outside: every record, and what really ran. */
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Requester } from "@swarm-mesh/bus";
import {
  decode,
  Header,
  isFinal,
  NodeRecord,
  TASK_TRANSITIONS,
  TaskRecord,
} from "@swarm-mesh/protocol";
import { Mesh, type MeshOptions } from "@swarm-mesh/testkit";
import { headers } from "nats";
import { test as base, expect } from "vitest";

const HANDLER = join(import.meta.dirname, "handlers", "traced.js");

/** A line that the traced handler wrote. */
interface Trace {
  readonly what: "start" | "end";
  readonly id: string;
  readonly attempt: number;
  readonly from: number;
  readonly pid: number;
  /** Wall clock of this machine, milliseconds since the epoch. */
  readonly at: number;
}

/** Follows a mesh by plain NATS, and submits to it as a client would. */
export class History {
  readonly mesh: Mesh;
  readonly records = new Map<string, TaskRecord>();
  readonly nodes = new Map<string, NodeRecord>();
  /** Things that must never happen, as they were seen. */
  readonly violations: string[] = [];
  readonly #trace: string;
  readonly #submitted: string[] = [];
  #client: Requester | undefined;
  #serial = 0;

  private constructor(mesh: Mesh, trace: string) {
    this.mesh = mesh;
    this.#trace = trace;
  }

  static async start(options: MeshOptions, trace: string): Promise<History> {
    const mesh = await Mesh.start({
      handles: [`work=module:${HANDLER}`, "echo=cat"],
      ...options,
      env: { MESH_TRACE: trace, ...options.env },
    });
    const history = new History(mesh, trace);
    const viewer = await mesh.connect("viewer");
    viewer.subscribe("mesh.tasks.state.*", {
      callback: (_, message) => history.#hearTask(message.data),
    });
    viewer.subscribe("mesh.nodes.state.*", {
      callback: (_, message) => {
        const record = decode(NodeRecord, message.data);
        if (record.ok) history.nodes.set(record.value.id, record.value);
      },
    });
    await viewer.flush();
    history.#client = new Requester(await mesh.connect("client"), { inboxPrefix: "_INBOX_client" });
    return history;
  }

  /** Submits with plain NATS until the PubAck is there, with the same id each time. */
  async submit(subject: string, body: unknown, h: Record<string, string> = {}): Promise<string> {
    const id = h[Header.msgId] ?? `t${this.#serial++}`;
    const hs = headers();
    for (const [name, value] of Object.entries({ ...h, [Header.msgId]: id })) hs.set(name, value);
    for (;;) {
      const stored = await this.#client?.stored(subject, JSON.stringify(body), {
        headers: hs,
        timeoutMs: 1_000,
      });
      if (stored?.kind === "stored") break;
      await sleep(50);
    }
    this.#submitted.push(id);
    return id;
  }

  /** Submits every `everyMs` until the returned function is called. */
  load(body: object, everyMs: number): () => Promise<void> {
    let going = true;
    const submits: Promise<string>[] = [];
    const loop = (async () => {
      while (going) {
        submits.push(this.submit("mesh.tasks.submit.work", body));
        await sleep(everyMs);
      }
    })();
    return async () => {
      going = false;
      await loop;
      await Promise.all(submits);
    };
  }

  /** Waits until `condition` holds; how long it took, in milliseconds. */
  async until(what: string, condition: () => boolean, timeoutMs = 30_000): Promise<number> {
    const started = performance.now();
    while (!condition()) {
      if (performance.now() - started > timeoutMs) {
        throw new Error(`not within ${timeoutMs} ms: ${what}\n${this.mesh.log}`);
      }
      await sleep(2);
    }
    return performance.now() - started;
  }

  /** Waits until every submitted task is final, then checks what must hold of all. */
  async settle(timeoutMs = 60_000): Promise<void> {
    const open = (): string[] =>
      this.#submitted.filter((id) => !isFinal(this.records.get(id)?.status ?? "running"));
    // A change that happened while our own link was down was not heard: look it up.
    await this.until("every task is final", () => open().length === 0, timeoutMs).catch(
      async (error) => {
        for (const id of open()) {
          const record = await this.mesh.record(id);
          if (record !== undefined) this.records.set(id, record);
        }
        if (open().length > 0)
          throw new Error(`never final: ${open().slice(0, 5)}`, { cause: error });
      },
    );
    expect(this.violations).toEqual([]);
    const starts = this.traces().filter((line) => line.what === "start");
    const twice = starts.filter(
      (line, index) =>
        starts.findIndex((o) => o.id === line.id && o.attempt === line.attempt) !== index,
    );
    expect(twice, "a try that ran twice").toEqual([]);
  }

  get submitted(): readonly string[] {
    return this.#submitted;
  }

  /** What ran, as the handlers wrote it. */
  traces(): Trace[] {
    let text: string;
    try {
      text = readFileSync(this.#trace, "utf8");
    } catch {
      return []; // Nothing has run yet.
    }
    return text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Trace]));
  }

  #hearTask(payload: Uint8Array): void {
    const decoded = decode(TaskRecord, payload);
    if (!decoded.ok) {
      if (payload.length > 0) this.violations.push(`a record that is none: ${decoded.problem}`);
      return;
    }
    const record = decoded.value;
    const before = this.records.get(record.id);
    this.records.set(record.id, record);
    if (before === undefined) return;
    const problem = problemOf(before, record);
    if (problem !== undefined) this.violations.push(`${record.id}: ${problem}`);
  }
}

function problemOf(before: TaskRecord, after: TaskRecord): string | undefined {
  if (!TASK_TRANSITIONS[before.status].includes(after.status)) {
    return `went from ${before.status} to ${after.status}`;
  }
  if (after.attempt < before.attempt)
    return `attempt went from ${before.attempt} to ${after.attempt}`;
  if (after.epoch < before.epoch) return `epoch went from ${before.epoch} to ${after.epoch}`;
  return undefined;
}

/** Vitest's `test` with a mesh of its own, whose processes are all gone when the test is over. */
export const test = base.extend<{
  options: MeshOptions;
  history: History;
}>({
  options: [{ nodes: 3, replicas: 2 }, { injected: true }],
  history: async ({ options }, use) => {
    const dir = await mkdtemp(join(tmpdir(), "mesh-trace-"));
    const history = await History.start(options, join(dir, "trace.jsonl"));
    await use(history);
    await history.mesh.stop();
    await rm(dir, { recursive: true, force: true });
  },
});

/** The share `q` of sorted figures is at most this. */
export function quantile(figures: readonly number[], q: number): number {
  const sorted = [...figures].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}
