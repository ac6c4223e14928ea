/**
 * What a running mesh says of itself, against what docs/metrics.md says that it says.
 *
 * One mesh in which a node is killed under a task, so that every kind of thing has happened once.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Mesh } from "@swarm-mesh/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { missing } from "../programs.ts";
import { type Exposed, parseExposition } from "./exposition.ts";
import { freePorts } from "./free-ports.ts";
import { panelQueries } from "./panels.ts";
import { checkPage, Prometheus, promtool } from "./prometheus.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const PROCESSES = [
  "registry",
  "coordinator",
  "health-monitor",
  "migrator",
  "authenticator",
  "n1",
  "n2",
];

let mesh: Mesh;
let firstPort: number;
/** `undefined` where it is not installed. */
let prometheus: Prometheus | undefined;

beforeAll(async () => {
  firstPort = await freePorts(PROCESSES.length + 1);
  const env = { MESH_LOG_LEVEL: "debug" };
  mesh = await Mesh.start({ nodes: 2, metricsPort: firstPort, jsonLogs: true, env });
  const submit = (...args: string[]) => mesh.swarmctl("task", "submit", ...args);
  expect(await submit("echo", "hello", "--wait")).toMatchObject({ status: 0 });
  await submit("nobody", "waits for a capability that nobody has", "--id", "unserved");
});

afterAll(async () => {
  await prometheus?.stop();
  await mesh.stop();
});

test("every metric of every process is in the docs, and none is there that is not", async () => {
  const pages = await Promise.all(PROCESSES.map((name) => scrape(name)));
  const told = new Map(pages.flatMap((page) => [...page]));
  const written = await documented();
  expect([...told.keys()].sort()).toEqual([...written.keys()].sort());
  for (const [name, { type, help }] of told) {
    expect({ name, type, help }).toEqual({ name, ...plain(written.get(name)) });
  }
  for (const metric of pages.flatMap((page) => [...page.values()])) {
    for (const { labels } of metric.samples) {
      const { le: _le, ...own } = labels;
      expect(written.get(metric.name)?.labels, metric.name).toEqual(
        expect.arrayContaining(Object.keys(own)),
      );
    }
  }
});

test("names and help follow Prometheus' conventions", async () => {
  for (const name of PROCESSES) {
    for (const { name: metric, type, help, samples } of (await scrape(name)).values()) {
      if (!metric.startsWith("mesh_")) continue;
      expect(metric.endsWith("_total"), metric).toBe(type === "counter");
      if (type === "histogram") expect(metric).toMatch(/_seconds$/);
      expect(help, metric).toMatch(/^[A-Z0-9].*\.$/);
      // Nothing that grows with the mesh or its tasks.
      for (const { labels } of samples) {
        expect(Object.values(labels), metric).not.toContain("carried");
        expect(Object.keys(labels).filter((label) => /^(node|task|id)$/.test(label))).toEqual([]);
      }
    }
  }
});

test("a capability that only a client named is `other`, and counts as unserved", async () => {
  const page = await scrape("coordinator");
  const waiting = samplesOf(page, "mesh_tasks_waiting");
  expect(waiting).toContainEqual([{ capability: "other", lane: "normal" }, 1]);
  expect(JSON.stringify([...page.values()])).not.toContain("nobody");
  expect(one(page, "mesh_tasks_waiting_unserved")).toBe(1);
  expect(one(page, "mesh_task_oldest_waiting_seconds")).toBeGreaterThan(0);
});

test("a real Prometheus takes every page, the rules, their tests and the configurations", async () => {
  if (missing("prometheus") !== undefined) return expectPagesToBeRead();
  for (const name of PROCESSES) {
    expect(await checkPage(await pageOf(name)), name).toBe("");
  }
  const deploy = join(ROOT, "deploy", "prometheus");
  await promtool("check", "rules", join(deploy, "alerts.yml"));
  await promtool("test", "rules", join(deploy, "alerts.test.yml"));
  for (const file of ["prometheus.yml", "compose.yml"]) {
    await promtool("check", "config", join(deploy, file));
  }
  const targets = PROCESSES.map((name, at) => ({
    job: `swarm-mesh-${/^n\d$/.test(name) ? "node" : name}`,
    port: firstPort + at,
  }));
  const port = firstPort + PROCESSES.length;
  prometheus = await Prometheus.start(port, targets, join(deploy, "alerts.yml"));
});

test("a killed node and its moved task are in the numbers", async () => {
  await mesh.swarmctl("task", "submit", "count", "30", "--id", "carried", "--prefer", "n2");
  await mesh.waitFor("carried", ({ node, progress }) => node === "n2" && progress !== null);
  mesh.kill("n2");
  await mesh.waitFor("carried", ({ node, status }) => node === "n1" && status === "running");
  await expect
    .poll(async () => one(await scrape("migrator"), "mesh_failover_seconds_count"))
    .toBe(1);
  const monitor = await scrape("health-monitor");
  expect(samplesOf(monitor, "mesh_node_verdicts_total")).toContainEqual([{ state: "FAILED" }, 1]);
  expect(one(monitor, "mesh_node_detection_seconds_count")).toBe(1);
  expect(one(monitor, "mesh_node_disconnects_total")).toBeGreaterThanOrEqual(1);
  const coordinator = await scrape("coordinator");
  const moves = samplesOf(coordinator, "mesh_task_moves_total");
  expect(moves.reduce((sum, [, value]) => sum + value, 0)).toBeGreaterThanOrEqual(1);
  expect(one(coordinator, "mesh_leader")).toBe(1);
  expect(samplesOf(coordinator, "mesh_tasks_finished_total")).toContainEqual([
    { capability: "echo", status: "succeeded" },
    1,
  ]);
  await expect
    .poll(async () => samplesOf(await scrape("registry"), "mesh_node_records"))
    .toContainEqual([{ state: "FAILED" }, 1]);
});

test("a real Prometheus evaluates every alert, fires the right ones, and fills every panel", async () => {
  if (prometheus === undefined) return expectPagesToBeRead();
  const { query, rules } = { query: prometheus.query.bind(prometheus), rules: prometheus };
  const states = async () => new Map((await rules.rules()).map(({ name, state }) => [name, state]));
  const wanted = { MeshWatchdog: "firing", MeshNodeFailed: "firing", MeshTargetDown: "pending" };
  await expect
    .poll(async () => Object.fromEntries(await states()), { timeout: 30_000 })
    .toMatchObject(wanted);
  const firing = [...(await states())].filter(([, state]) => state === "firing");
  expect(firing.map(([name]) => name).sort()).toEqual(["MeshNodeFailed", "MeshWatchdog"]);
  expect((await rules.rules()).filter(({ health }) => health !== "ok")).toEqual([]);
  const empty = async (): Promise<string[]> => {
    const all = await Promise.all(
      panelQueries().map(async ({ title, expr }) => ({ title, count: (await query(expr)).length })),
    );
    return all.filter(({ count }) => count === 0).map(({ title }) => title);
  };
  await expect.poll(empty, { timeout: 30_000 }).toEqual([]);
});

test("a process without NATS is alive, and not ready until NATS is back", async () => {
  const alive = PROCESSES.filter((name) => name !== "n2");
  const all = (status: number): number[] => alive.map(() => status);
  const look = async (path: string): Promise<number[]> =>
    Promise.all(alive.map(async (name) => (await fetch(`${addressOf(name)}${path}`)).status));
  expect(await look("/readyz")).toEqual(all(200));
  mesh.kill("nats-server");
  await expect.poll(() => look("/readyz"), { timeout: 10_000 }).toEqual(all(503));
  expect(await look("/healthz")).toEqual(all(200));
  expect(one(await scrape("registry"), "mesh_nats_connected")).toBe(0);
  mesh.startServer();
  await expect.poll(() => look("/readyz"), { timeout: 30_000 }).toEqual(all(200));
  expect(one(await scrape("registry"), "mesh_nats_reconnects_total")).toBe(1);
});

test("what was logged is JSON with the same names everywhere, and holds no secret", async () => {
  const lines = mesh.log.split("\n").filter((line) => line.startsWith("{"));
  expect(lines.length).toBeGreaterThan(20);
  for (const line of lines) {
    expect(JSON.parse(line)).toMatchObject({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      level: expect.stringMatching(/^(debug|info|warn|error)$/),
      service: expect.any(String),
      instance: expect.any(String),
      msg: expect.any(String),
    });
  }
  const files = (await readdir(join(mesh.dir, "keys"))).filter((name) => name.endsWith(".nk"));
  expect(files.length).toBeGreaterThanOrEqual(8);
  for (const file of files) {
    const seed = (await readFile(join(mesh.dir, "keys", file), "utf8")).trim();
    expect(mesh.log.includes(seed), file).toBe(false);
  }
  // Whatever looks like a seed of any kind, or a token.
  expect(mesh.log.match(/\bS[A-Z][A-Z2-7]{56}\b|\beyJ[\w-]{20,}\.[\w-]{20,}/)).toBeNull();
});

function addressOf(name: string): string {
  return `http://127.0.0.1:${firstPort + PROCESSES.indexOf(name)}`;
}

async function pageOf(name: string): Promise<string> {
  const response = await fetch(`${addressOf(name)}/metrics`);
  expect(response.headers.get("content-type")).toContain("text/plain; version=0.0.4");
  return response.text();
}

async function scrape(name: string): Promise<Map<string, Exposed>> {
  return parseExposition(await pageOf(name));
}

/** What is left where there is no Prometheus. */
async function expectPagesToBeRead(): Promise<void> {
  for (const name of PROCESSES.slice(0, -1)) expect((await scrape(name)).size).toBeGreaterThan(30);
}

function samplesOf(page: Map<string, Exposed>, name: string): [Record<string, string>, number][] {
  const { samples = [] } = page.get(name) ?? {};
  return samples.map(({ labels, value }) => [labels, value]);
}

/** The only sample of this name. */
function one(page: Map<string, Exposed>, name: string): number {
  const all = [...page.values()].flatMap(({ samples }) => samples);
  const [sample, ...more] = all.filter((sample) => sample.name === name);
  expect({ name, more }).toEqual({ name, more: [] });
  return sample?.value ?? Number.NaN;
}

interface Written {
  readonly type: string;
  readonly labels: readonly string[];
  readonly help: string;
}

function plain(written: Written | undefined): { type?: string; help?: string } {
  return written === undefined ? {} : { type: written.type, help: written.help };
}

async function documented(): Promise<Map<string, Written>> {
  const page = await readFile(join(ROOT, "docs", "metrics.md"), "utf8");
  const rows = page.matchAll(/^\| `(\w+)` +\| (\w+) +\| (.+?) +\| (.+?) +\|$/gm);
  return new Map(
    Array.from(rows, ([, name = "", type = "", labels = "", help = ""]) => [
      name,
      { type, labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label = ""]) => label), help },
    ]),
  );
}
