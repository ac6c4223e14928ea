/** A real Chromium on the dashboard of a mesh. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Mesh } from "@swarm-mesh/testkit";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { findChromium } from "../programs.ts";

const SWARMCTL = join(import.meta.dirname, "..", "..", "packages/cli/bin/swarmctl.js");
const LINK_TIMEOUT_MS = 20_000;
const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];

/** `swarmctl dashboard` and a browser that opened its link. */
export class DashboardBrowser {
  readonly page: Page;
  /** Where the page is, without the link's secret. */
  readonly url: string;
  /** What the page complained about. */
  readonly complaints: string[] = [];
  readonly #command: ChildProcess;
  readonly #context: BrowserContext;
  readonly #profile: string;

  private constructor(parts: {
    page: Page;
    url: string;
    command: ChildProcess;
    context: BrowserContext;
    profile: string;
  }) {
    this.page = parts.page;
    this.url = parts.url;
    this.#command = parts.command;
    this.#context = parts.context;
    this.#profile = parts.profile;
    // That the server is gone is told by the page itself.
    this.page.on("console", (message) => {
      const text = message.text();
      if (message.type() === "error" && !/WebSocket connection to/.test(text)) {
        this.complaints.push(text);
      }
    });
    this.page.on("pageerror", (error) => this.complaints.push(error.message));
  }

  /** Opens the page as `swarmctl dashboard` prints it; `to` is a page's address, `/nodes`. */
  static async open(
    mesh: Mesh,
    { admin = false, to = "/" }: { readonly admin?: boolean; readonly to?: string } = {},
  ): Promise<DashboardBrowser> {
    const command = spawn(
      process.execPath,
      [SWARMCTL, "dashboard", "--port", "0", ...(admin ? ["--admin"] : [])],
      { env: { ...process.env, MESH_DIR: mesh.dir }, stdio: ["ignore", "pipe", "inherit"] },
    );
    const profile = await mkdtemp(join(tmpdir(), "mesh-browser-"));
    let context: BrowserContext | undefined;
    try {
      const link = await linkOf(command);
      context = await chromium.launchPersistentContext(profile, {
        ...{ executablePath: findChromium() ?? "chromium", args: FLAGS, headless: true },
        viewport: { width: 1_280, height: 860 },
      });
      const page = context.pages()[0] ?? (await context.newPage());
      const [url = ""] = link.split("#");
      const browser = new DashboardBrowser({ page, url, command, context, profile });
      await page.goto(`${link}&to=${encodeURIComponent(to)}`);
      await page.locator(".connection.live").waitFor();
      return browser;
    } catch (error) {
      await context?.close();
      command.kill("SIGKILL");
      await rm(profile, { recursive: true, force: true });
      throw error;
    }
  }

  /** Goes to a page by its address, as a deep link does. */
  async goTo(path: string): Promise<void> {
    await this.page.goto(`${this.url}#${path}`);
  }

  async close(): Promise<void> {
    await this.#context.close();
    this.#command.kill("SIGTERM");
    await rm(this.#profile, { recursive: true, force: true });
  }
}

/** The link that the command printed. */
function linkOf(command: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("no link was printed")), LINK_TIMEOUT_MS);
    command.once("exit", (code) => reject(new Error(`swarmctl dashboard ended with ${code}`)));
    if (command.stdout === null) return;
    createInterface({ input: command.stdout }).on("line", (line) => {
      const [link] = /http:\S+#key=\S+/.exec(line) ?? [];
      if (link === undefined) return;
      clearTimeout(late);
      resolve(link);
    });
  });
}
