/** The dashboard in a real browser: what it shows is what the stores say, whatever happens meanwhile. */
import { bucketStream, openManager } from "@swarm-mesh/bus";
import { MeshClient } from "@swarm-mesh/client";
import {
  decode,
  kvSubject,
  LEASES_BUCKET,
  LeaderLease,
  leaderLeaseKey,
  NODE_LEASE_TTL_MS,
  NODES_BUCKET,
  NodeRecord,
} from "@swarm-mesh/protocol";
import { Mesh, type MeshOptions } from "@swarm-mesh/testkit";
import axe from "axe-core";
import type { Page } from "playwright-core";
import { test as base, expect } from "vitest";
import { missing } from "../programs.ts";
import { DashboardBrowser } from "./browser.ts";

const test = base.extend<{
  readonly open: (options?: MeshOptions, admin?: boolean) => Promise<Opened>;
}>({
  open: async ({ skip }, use) => {
    const reason = missing("chromium");
    if (reason !== undefined) skip(reason);
    const stops: (() => Promise<void>)[] = [];
    await use(async (options, admin = false) => {
      const mesh = await Mesh.start(options);
      stops.push(() => mesh.stop());
      const browser = await DashboardBrowser.open(mesh, { admin });
      stops.push(() => browser.close());
      return { mesh, browser };
    });
    for (const stop of stops.reverse()) await stop();
  },
});

interface Opened {
  readonly mesh: Mesh;
  readonly browser: DashboardBrowser;
}

/** How far the page may be behind the record. */
const LAG_MAX_MS = 1_000;

test("shows what the stores say, through a node's death and a leader's", async ({ open }) => {
  const { mesh, browser } = await open({ nodes: 3, replicas: 2 });
  const { page } = browser;
  const client = new MeshClient(await mesh.connect("client"));

  await browser.goTo("/nodes");
  await page.locator("tr[data-node]").nth(2).waitFor();
  await expect.poll(() => statesOn(page)).toEqual(await statesIn(mesh));

  await client.submit("count", { n: 400, everyMs: 100 }, { id: "c1", prefer: "n2" });
  await mesh.waitFor("c1", ({ node, progress }) => node === "n2" && progress !== null);
  await client.run("echo", "hello", { id: "e1" });
  await browser.goTo("/tasks");
  await page.locator('tr[data-task="c1"][data-status="running"]').waitFor();
  await page.locator('tr[data-task="e1"][data-status="succeeded"]').waitFor();

  await browser.goTo("/nodes");
  const failed = await listenFor(mesh, "n2", "FAILED");
  mesh.kill("n2");
  const toldAt = await failed.at;
  await page.locator('tr[data-node="n2"][data-state="FAILED"]').waitFor();
  expect(performance.now() - toldAt, "behind the record").toBeLessThan(LAG_MAX_MS);
  expect(await statesOn(page)).toEqual(await statesIn(mesh));

  await mesh.waitFor("c1", ({ attempt }) => attempt === 2);
  await browser.goTo("/tasks/c1");
  await page.getByText("moved from n2 to").waitFor();

  await browser.goTo("/leaders");
  const before = await leaderIn(mesh);
  await page.locator(`[data-leader="${before}"]`).waitFor();
  mesh.kill(before ?? "");
  await expect.poll(() => leaderIn(mesh), { timeout: 20_000 }).not.toBe(before);
  const after = await leaderIn(mesh);
  expect(after).toMatch(/^coordinator-/);
  await page.locator(`[data-leader="${after}"]`).waitFor();
  await page
    .locator("table")
    .getByText(after ?? "none")
    .first()
    .waitFor();
  expect(browser.complaints).toEqual([]);
});

test("never shows a dead node as alive for longer than its lease", async ({ open }) => {
  const { mesh, browser } = await open({ nodes: 2 });
  const { page } = browser;
  await browser.goTo("/nodes");
  await page.locator('tr[data-node="n1"][data-state="ACTIVE"]').waitFor();
  // Nobody is left to say that a node failed: the record goes on saying ACTIVE.
  for (const service of ["health-monitor", "registry", "migrator"]) mesh.kill(`${service}-1`);
  mesh.kill("n1");
  const killedAt = performance.now();
  await page.locator('tr[data-node="n1"][data-state="SILENT"]').waitFor();
  expect(performance.now() - killedAt).toBeLessThan(NODE_LEASE_TTL_MS + LAG_MAX_MS);
  expect(await statesIn(mesh)).toMatchObject({ n1: "ACTIVE" });
  expect(await statesOn(page)).toEqual({ n1: "SILENT", n2: "ACTIVE" });
});

test("says when it is cut off, and is right again when the server is back", async ({ open }) => {
  const { mesh, browser } = await open({ nodes: 1 });
  const { page } = browser;
  const records = await mesh.connect("client");
  const client = new MeshClient(records);
  await browser.goTo("/tasks");
  await client.run("echo", 1, { id: "before" });
  await page.locator('tr[data-task="before"][data-status="succeeded"]').waitFor();

  mesh.kill("nats-server");
  await page.locator(".connection.disconnected").waitFor();
  expect(await page.getByTestId("banner").textContent()).toMatch(/as of \d\d:\d\d:\d\d.*ago/s);
  expect(await page.locator("main.old").count()).toBe(1);

  mesh.startServer();
  await page.locator(".connection.live").waitFor();
  expect(await page.getByTestId("banner").count()).toBe(0);
  await client.run("echo", 2, { id: "after" });
  await page.locator('tr[data-task="after"][data-status="succeeded"]').waitFor();
  await browser.goTo("/nodes");
  await page.locator('tr[data-node="n1"][data-state="ACTIVE"]').waitFor();

  // A reload keeps the key, a link that was used once does not give it again.
  await page.reload();
  await page.locator(".connection.live").waitFor();
  expect(await page.evaluate("location.hash")).toBe("#/nodes");
});

test("is used by keyboard, by link and by everyone", async ({ open }) => {
  const options = { nodes: 2, handles: ["echo=cat", "fail=echo broken >&2; exit 1"] };
  const { mesh, browser } = await open(options, true);
  const { page } = browser;
  const client = new MeshClient(await mesh.connect("client"));
  await client.run("echo", { a: 1 }, { id: "e1" });
  await client.run("fail", "body of f1", { id: "f1" }).catch(() => undefined);

  // Keys: a page by its number, the search, along the list, into the detail.
  await page.keyboard.press("3");
  await page.locator('tr[data-task="f1"]').waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("broken");
  await expect.poll(() => page.locator("tr[data-task]").count()).toBe(1);
  await page.keyboard.press("Escape");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.getByText("The record as it is stored").waitFor();
  expect(await page.evaluate("location.hash")).toBe("#/tasks/f1");

  // A letter is read, and submitted again, twice as once.
  await browser.goTo("/dead");
  await page.locator('tr[data-letter="f1"]').click();
  await page.getByText("body of f1").waitFor();
  await page.getByRole("button", { name: "Submit again …" }).click();
  await page.getByRole("button", { name: "Submit again", exact: true }).click();
  await page.getByText("f1-r1 is submitted.").waitFor();
  await mesh.waitFor("f1-r1", ({ status }) => status === "failed");

  // The same answer as the command line's.
  await browser.goTo("/why/task/f1");
  await page.locator('[data-cause="failed"]').waitFor();
  const why = await mesh.swarmctl("why", "task", "f1", "-o", "json");
  expect(JSON.parse(why.stdout)).toMatchObject({ cause: "failed" });

  // A drain, which an admin alone may ask for.
  await browser.goTo("/nodes/n1");
  await page.getByRole("button", { name: "Drain …" }).click();
  await page.getByRole("button", { name: "Drain", exact: true }).click();
  await page.getByText("n1 drains.").waitFor();
  await expect.poll(() => statesIn(mesh)).toMatchObject({ n1: "LEFT" });

  const addresses = [
    "/",
    "/nodes",
    "/nodes/n2",
    "/tasks",
    "/tasks/f1",
    "/leaders",
    "/dead",
    "/dead/1",
    "/why/node/n2",
  ];
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    for (const address of addresses) {
      await browser.goTo(address);
      await page.locator("main section").first().waitFor();
      expect(await problemsOf(page), `${address}, ${colorScheme}`).toEqual([]);
    }
  }
  expect(browser.complaints).toEqual([]);
});

/** What axe finds wrong, by its rule and place. */
async function problemsOf(page: Page): Promise<readonly string[]> {
  // As a script of the debugger's: the page's policy lets nobody add one.
  await page.evaluate(axe.source);
  const found: unknown = await page.evaluate(
    `axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
       violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => id + " " + target + " " + failureSummary)))`,
  );
  return found as string[];
}

/** Each node's state as the page shows it. */
async function statesOn(page: Page): Promise<Record<string, string>> {
  const rows = await page.locator("tr[data-node]").evaluateAll((all: readonly object[]) =>
    all.map((one) => {
      const { dataset } = one as { readonly dataset: Readonly<Record<string, string>> };
      return [dataset["node"], dataset["state"]];
    }),
  );
  return Object.fromEntries(rows);
}

/** Each node's state as its record says. */
async function statesIn(mesh: Mesh): Promise<Record<string, string>> {
  const nc = await mesh.connect("viewer");
  try {
    const manager = await openManager(nc);
    const states: Record<string, string> = {};
    const { state } = await manager.streams.info(bucketStream(NODES_BUCKET), {
      subjects_filter: ">",
    });
    for (const subject of Object.keys(state.subjects ?? {})) {
      const message = await manager.streams.getMessage(bucketStream(NODES_BUCKET), {
        last_by_subj: subject,
      });
      const record = decode(NodeRecord, message?.data ?? new Uint8Array());
      if (record.ok) states[record.value.id] = record.value.state;
    }
    return states;
  } finally {
    await nc.close();
  }
}

/** Who leads, as the lease in the store says; `undefined`: nobody. */
async function leaderIn(mesh: Mesh): Promise<string | undefined> {
  const nc = await mesh.connect("viewer");
  try {
    const manager = await openManager(nc);
    const subject = kvSubject(LEASES_BUCKET.name, leaderLeaseKey("coordinator"));
    const message = await manager.streams
      .getMessage(bucketStream(LEASES_BUCKET), { last_by_subj: subject })
      .catch(() => null);
    const lease = decode(LeaderLease, message?.data ?? new Uint8Array());
    return lease.ok ? lease.value.instance : undefined;
  } finally {
    await nc.close();
  }
}

/** Resolves once it listens; `at` with the time at which a node's record is republished in this state. */
async function listenFor(
  mesh: Mesh,
  id: string,
  state: string,
): Promise<{ readonly at: Promise<number> }> {
  const nc = await mesh.connect("viewer");
  const changes = nc.subscribe(`mesh.nodes.state.${id}`);
  await nc.flush();
  const hear = async (): Promise<number> => {
    for await (const message of changes) {
      const record = decode(NodeRecord, message.data);
      if (record.ok && record.value.state === state) return performance.now();
    }
    throw new Error(`${id} was never ${state}`);
  };
  return { at: hear() };
}
