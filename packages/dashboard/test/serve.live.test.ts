import { readdir, readFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import {
  type DashboardOptions,
  type RunningDashboard,
  serveDashboard,
} from "@swarm-mesh/dashboard";
import { test as base, expect } from "vitest";

const SEED = `SU${"A".repeat(56)}`;
const KEY = { user: "viewer", seed: SEED };
/** What the whole page may weigh on the wire. */
const PAGE_MAX_BYTES = 150 * 1_024;

const test = base.extend<{
  readonly serve: (options?: Partial<DashboardOptions>) => Promise<RunningDashboard>;
}>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads fixture names from this pattern
  serve: async ({}, use) => {
    const running: RunningDashboard[] = [];
    await use(async (options) => {
      const all = { host: "127.0.0.1", port: 0, websocket: "ws://127.0.0.1:9", ...options };
      const dashboard = await serveDashboard(all);
      running.push(dashboard);
      return dashboard;
    });
    await Promise.all(running.map((dashboard) => dashboard.close()));
  },
});

test("the page weighs at most 150 KB", async () => {
  const dir = join(import.meta.dirname, "..", "dist", "page");
  const files = await readdir(dir, { recursive: true, withFileTypes: true });
  let weight = 0;
  for (const file of files.filter((each) => each.isFile())) {
    weight += gzipSync(await readFile(join(file.parentPath, file.name))).length;
  }
  expect(weight).toBeGreaterThan(10_000);
  expect(weight).toBeLessThanOrEqual(PAGE_MAX_BYTES);
});

test("gives the key for a link's secret, once, to its own page alone", async ({ serve }) => {
  let used = 0;
  const dashboard = await serve({ key: KEY, onUsed: () => void used++ });
  const [, secret = ""] = dashboard.link().split("#key=");
  const ask = (body: string, origin = dashboard.url.slice(0, -1)): Promise<Response> =>
    fetch(`${dashboard.url}key`, { method: "POST", body, headers: { origin } });

  expect((await ask("wrong")).status).toBe(403);
  expect((await ask("x".repeat(5_000))).status).toBe(403);
  expect((await ask(secret, "http://evil.example")).status).toBe(403);
  const answer = await ask(secret);
  expect(answer.headers.get("cache-control")).toBe("no-store");
  expect(await answer.json()).toEqual(KEY);
  expect((await ask(secret)).status).toBe(403);
  expect(used).toBe(1);
  expect((await fetch(`${dashboard.url}key`)).status).toBe(404);
});

test("a link stops working when sixteen newer ones were made", async ({ serve }) => {
  const dashboard = await serve({ key: KEY });
  const links = Array.from({ length: 17 }, () => dashboard.link().split("#key=")[1] ?? "");
  const statusOf = async (body = ""): Promise<number> => {
    const headers = { origin: dashboard.url.slice(0, -1) };
    return (await fetch(`${dashboard.url}key`, { method: "POST", body, headers })).status;
  };
  expect(await statusOf(links[0])).toBe(403);
  expect(await statusOf(links[1])).toBe(200);
  expect(await statusOf(links[16])).toBe(200);
});

test("answers to no other name while it has a key to give", async ({ serve }) => {
  const dashboard = await serve({ key: KEY });
  expect(await raw(dashboard.url, "evil.example")).toMatch(/^HTTP\/1.1 421 /);
  const open = await serve();
  expect(await raw(open.url, "dashboard.example")).toMatch(/^HTTP\/1.1 200 /);
});

test("refuses to give a key beyond this machine", async ({ serve }) => {
  await expect(serve({ key: KEY, host: "0.0.0.0" })).rejects.toThrow("on loopback alone");
});

test("serves the page under a policy that lets it talk to nats-server alone", async ({ serve }) => {
  const dashboard = await serve({ websocket: "wss://nats.example:8443" });
  expect(dashboard.link()).toBe(dashboard.url);
  const page = await fetch(dashboard.url);
  expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8");
  const policy = page.headers.get("content-security-policy") ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("connect-src 'self' wss://nats.example:8443;");
  expect(policy).not.toContain("unsafe");
  const html = await page.text();
  expect(html).not.toMatch(/(src|href)="(https?:)?\/\//);
  const [, script = ""] = /src="\.\/(assets\/[^"]+\.js)"/.exec(html) ?? [];
  const asset = await fetch(`${dashboard.url}${script}`);
  expect(asset.headers.get("content-encoding")).toBe("gzip");
  expect(asset.headers.get("cache-control")).toContain("immutable");

  expect(await (await fetch(`${dashboard.url}config.json`)).json()).toEqual({
    ...{ websocket: "wss://nats.example:8443", key: false },
  });
  expect((await fetch(`${dashboard.url}healthz`)).status).toBe(200);
  expect((await fetch(`${dashboard.url}..%2f..%2fpackage.json`)).status).toBe(404);
  expect((await fetch(dashboard.url, { method: "DELETE" })).status).toBe(405);
});

/** The first line of the answer to a request for another host: fetch would not send it. */
function raw(url: string, host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1", () => {
      socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    });
    socket.once("data", (data) => {
      resolve(String(data).split("\r\n", 1)[0] ?? "");
      socket.destroy();
    });
    socket.once("error", reject);
  });
}
